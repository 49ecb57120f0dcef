"""Time and identifiers, so that nothing in the core makes its own."""

from abc import abstractmethod
from datetime import datetime
from typing import Protocol

from keyturn.domain.ids import FamilyId, TokenId, UserId


class Clock(Protocol):
    """Tells the time."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""


class IdGenerator(Protocol):
    """Makes identifiers that are unique without asking anybody."""

    @abstractmethod
    def user_id(self) -> UserId:
        """Return a new user's id."""

    @abstractmethod
    def family_id(self) -> FamilyId:
        """Return a new family's id."""

    @abstractmethod
    def token_id(self) -> TokenId:
        """Return a new token's id, which nobody can guess: at least 120 random bits."""
