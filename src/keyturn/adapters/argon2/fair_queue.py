"""A queue that gives every source its turn, one job after the other."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

J = TypeVar("J")


class FairQueue(Generic[J]):
    """Jobs that wait, taken in turn by source: the oldest of the source whose turn is next.

    A source that has had its turn goes to the end, also if it comes back later. Not thread-safe.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._waiting: OrderedDict[str, deque[J]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return self._size

    def put(self, source: str, job: J) -> None:
        """Add a job behind those of its source; a new source has its turn after all others."""
        self._waiting.setdefault(source, deque()).append(job)
        self._size += 1

    def take(self) -> J | None:
        """Remove and return the next job, None where none waits."""
        if not self._waiting:
            return None
        source, jobs = self._waiting.popitem(last=False)
        job = jobs.popleft()
        if jobs:
            self._waiting[source] = jobs
        self._size -= 1
        return job

    def remove(self, source: str, job: J) -> bool:
        """Remove a job that waits, and return whether it did."""
        jobs = self._waiting.get(source)
        if jobs is None or job not in jobs:
            return False
        jobs.remove(job)
        if not jobs:
            del self._waiting[source]
        self._size -= 1
        return True

    def make_room_for(self, source: str) -> J | None:
        """Remove and return the newest job of the source with the most, so that one fits in.

        Returns:
            None where `source` itself would have as many as any other: then its new job is the one
            to turn away.
        """
        most = max(self._waiting, key=lambda each: len(self._waiting[each]), default=None)
        if most is None or len(self._waiting[most]) <= len(self._waiting.get(source, ())) + 1:
            return None
        jobs = self._waiting[most]
        job = jobs.pop()
        self._size -= 1
        return job
