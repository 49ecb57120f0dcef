"""How hard a password is to guess, as zxcvbn estimates it."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from keyturn.domain.errors import HashingBusy
from keyturn.domain.secret import Secret
from keyturn.domain.strength import Strength
from keyturn.ports.passwords import StrengthEstimator

CHARACTERS_LOOKED_AT: Final = 20
"""What follows can make a password only harder to guess, and estimating it costs a great deal.

The worst texts that were found take a quarter of a second at 20 characters, four at 72.
"""

MOST_WAITING: Final = 8
"""Estimates beyond the one that is under way."""


class ZxcvbnEstimator(StrengthEstimator):
    """Estimates one password at a time, in a thread beside the event loop.

    The library keeps the words of whoever asks in a variable of the module: two at once would be
    told of each other's.
    """

    def __init__(self) -> None:
        """Load nothing yet: the library's dictionaries are large, and loaded by who asks first."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="zxcvbn")
        self._taken = 0

    async def estimate(self, password: Secret, words: tuple[str, ...]) -> Strength:
        if self._taken > MOST_WAITING:
            raise HashingBusy
        self._taken += 1
        try:
            work = self._thread.submit(_estimate, password, words)
        except RuntimeError:
            # Closed, or the machine has no thread to give.
            self._taken -= 1
            raise HashingBusy from None
        try:
            return await asyncio.wrap_future(work)
        finally:
            self._taken -= 1

    def close(self) -> None:
        """Refuse new work, drop what waits and wait for what runs."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def _estimate(password: Secret, words: tuple[str, ...]) -> Strength:
    from zxcvbn import zxcvbn  # noqa: PLC0415 - it builds its dictionaries

    # It fails on nothing at all, and on a line break between digits, which it takes for a date.
    text = re.sub(r"\s", " ", password.reveal()[:CHARACTERS_LOOKED_AT])
    if not text:
        return Strength(0, None, ())
    found = zxcvbn(text, user_inputs=words)
    feedback = found["feedback"]
    return Strength(found["score"], feedback["warning"] or None, tuple(feedback["suggestions"]))
