"""Rotations that the store may have made without ever saying so."""

from typing import Final

from keyturn.domain.ids import TokenId

MOST: Final = 10_000
"""Successors that are remembered; beyond that, those are forgotten that have waited longest."""


class UnansweredRotations:
    """Remembers successors that the store was asked to make live tokens, and nobody was handed."""

    def __init__(self, at_most: int = MOST) -> None:
        """Remember up to `at_most` successors."""
        self._at_most = at_most
        self._successors: dict[TokenId, None] = {}

    def __contains__(self, successor: TokenId) -> bool:
        return successor in self._successors

    def note(self, successor: TokenId) -> None:
        """Remember a successor that the store is asked to make the live token."""
        if len(self._successors) >= self._at_most:
            del self._successors[next(iter(self._successors))]
        self._successors[successor] = None

    def forget(self, successor: TokenId) -> None:
        """Forget a successor that is handed out, or that can't become the live token any more."""
        self._successors.pop(successor, None)
