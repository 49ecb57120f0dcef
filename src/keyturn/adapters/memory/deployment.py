"""What the processes of an in-memory deployment know of each other."""

from datetime import timedelta

from keyturn.adapters.memory.store import MemoryStore, give_way
from keyturn.ports.deployment import DeploymentRecord


class MemoryDeploymentRecord(DeploymentRecord):
    """The record in a `MemoryStore`."""

    def __init__(self, store: MemoryStore) -> None:
        """Record in `store`."""
        self._store = store

    async def record_access_ttl(self, access_ttl: timedelta) -> None:
        """Record the lifetime of access tokens, unless a longer one is recorded."""
        await give_way()
        rounded = timedelta(seconds=-(-access_ttl // timedelta(seconds=1)))
        self._store.longest_access_ttl = max(self._store.longest_access_ttl, rounded)

    async def record_feed(self, feed_id: str | None) -> None:
        """Record the feed that the service follows."""
        await give_way()
        self._store.recorded_feed = feed_id

    async def get_feed(self) -> str | None:
        """Return the feed that the service follows."""
        await give_way()
        return self._store.recorded_feed
