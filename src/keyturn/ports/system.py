"""Time and identifiers, so that nothing in the core makes its own."""

from abc import abstractmethod
from datetime import datetime
from typing import Protocol

from keyturn.domain.ids import EventId, FamilyId, MailId, TokenId, UserId
from keyturn.domain.secret import Secret


class Clock(Protocol):
    """Tells the time."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""


class IdGenerator(Protocol):
    """Makes identifiers that are unique without asking anybody."""

    @abstractmethod
    def user_id(self) -> UserId:
        """Return a new user's id; later ones are greater, as in UUIDv7 (RFC 9562 §5.7)."""

    @abstractmethod
    def family_id(self) -> FamilyId:
        """Return a new family's id."""

    @abstractmethod
    def token_id(self) -> TokenId:
        """Return a new token's id, which nobody can guess: at least 120 random bits."""

    @abstractmethod
    def event_id(self) -> EventId:
        """Return a new audit event's id; later ones are greater, as in UUIDv7 (RFC 9562 §5.7)."""

    @abstractmethod
    def mail_id(self) -> MailId:
        """Return a new mail's id; later ones are greater, as in UUIDv7 (RFC 9562 §5.7)."""

    @abstractmethod
    def one_time_token(self) -> Secret:
        """Return a text for a link, which nobody can guess: 256 random bits, fit for a URL."""
