"""Rotations that the store may have made without ever saying so."""

from datetime import datetime, timedelta
from typing import Final

from keyturn.domain.ids import TokenId

MOST: Final = 10_000
"""Successors that are remembered; beyond that, those are forgotten that have waited longest."""


class UnansweredRotations:
    """Remembers successors that the store was asked to make live tokens, and nobody was handed."""

    def __init__(self, grace: timedelta, at_most: int = MOST) -> None:
        """Remember up to `at_most` successors, each until `grace` after it was first handed out."""
        self._grace = grace
        self._at_most = at_most
        # When each was first handed out, None for not yet.
        self._successors: dict[TokenId, datetime | None] = {}

    def note(self, successor: TokenId) -> None:
        """Note that the store is asked to make a successor the live token.

        Somebody may be handed it before the store has answered, but without a grace window nobody
        is: it is remembered from then on only that the store did not answer.
        """
        if self._grace:
            self._remember(successor)

    def leave_open(self, successor: TokenId) -> None:
        """Note that the store did not answer, and may have made it the live token all the same."""
        if not self._grace:
            self._remember(successor)

    def is_open(self, successor: TokenId, now: datetime) -> bool:
        """Return whether a successor was handed to nobody until less than the grace window ago."""
        if successor not in self._successors:
            return False
        handed_out_at = self._successors[successor]
        return handed_out_at is None or abs(now - handed_out_at) < self._grace

    def hand_out(self, successor: TokenId, now: datetime) -> None:
        """Note that somebody is handed a successor, if it is one of these."""
        if successor in self._successors and self._successors[successor] is None:
            self._successors[successor] = now

    def forget(self, successor: TokenId) -> None:
        """Forget a successor that was stored and answered for, or that can't be stored any more."""
        self._successors.pop(successor, None)

    def _remember(self, successor: TokenId) -> None:
        if len(self._successors) >= self._at_most:
            del self._successors[next(iter(self._successors))]
        self._successors[successor] = None
