"""Rotations that the store may have made without ever saying so."""

from typing import Final

from keyturn.domain.ids import FamilyId, TokenId

MOST: Final = 10_000
"""Sessions that are remembered; beyond that, those are forgotten that have waited longest."""


class UnansweredRotations:
    """Remembers, for each session, the successor that was to be stored and was handed to nobody."""

    def __init__(self, at_most: int = MOST) -> None:
        """Remember up to `at_most` sessions."""
        self._at_most = at_most
        self._successors: dict[FamilyId, TokenId] = {}

    def note(self, family_id: FamilyId, successor: TokenId) -> None:
        """Remember a successor; the store did not answer when it was to be made the live token."""
        self._successors.pop(family_id, None)
        if len(self._successors) >= self._at_most:
            del self._successors[next(iter(self._successors))]
        self._successors[family_id] = successor

    def successor_of(self, family_id: FamilyId) -> TokenId | None:
        """Return the successor that was handed to nobody, None where nothing is known of one."""
        return self._successors.get(family_id)

    def forget(self, family_id: FamilyId) -> None:
        """Forget a session: its live token has been handed out."""
        self._successors.pop(family_id, None)
