"""Mails: what waits to be sent, and what it says."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from keyturn.domain.events import Origin
from keyturn.domain.ids import MailId, UserId
from keyturn.domain.secret import Secret
from keyturn.domain.user import User

MAX_ATTEMPTS_TO_SEND = 30
"""After so many failures, which takes a day, a mail is dead until an operator retries it."""

_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=1)


class MailKind(StrEnum):
    """What a mail is about; a template has this name."""

    VERIFY_EMAIL = "verify_email"
    ALREADY_REGISTERED = "already_registered"
    RESET_PASSWORD = "reset_password"
    PASSWORD_CHANGED = "password_changed"
    CONFIRM_NEW_EMAIL = "confirm_new_email"
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGED = "email_changed"
    LOGIN_BLOCKED = "login_blocked"
    DELETION_SCHEDULED = "deletion_scheduled"
    ACCOUNT_ERASED = "account_erased"


@dataclass(frozen=True, slots=True)
class QueuedMail:
    """A mail that waits to be sent; it holds no token, and perhaps nobody has the address.

    What it says, and whether it is sent at all, is found out when it is sent: whoever asks for a
    mail learns nothing, and no token is stored that could be used.

    Attributes:
        address: whom it is for; for what a stranger asked for, as the stranger wrote it.
        user_id: whose account it is about, None where that is found by the address.
        credentials_version: the user's when it was asked for; once that has moved, a mail that
            holds a token for the user is not sent any more. None where that does not matter.
        origin: who asked for it.
        attempts: how often it was tried, the one under way included.
        next_attempt_at: not tried before this.
        dead_at: when it was given up.
        failure: why the last attempt failed, with no personal data.
        details: short texts for the template, such as a date.
    """

    id: MailId
    kind: MailKind
    address: str
    created_at: datetime
    next_attempt_at: datetime
    user_id: UserId | None = None
    credentials_version: int | None = None
    origin: Origin = field(default_factory=Origin)
    details: tuple[tuple[str, str], ...] = ()
    attempts: int = 0
    dead_at: datetime | None = None
    failure: str | None = None

    @staticmethod
    def to_address(
        mail_id: MailId, kind: MailKind, address: str, now: datetime, origin: Origin
    ) -> "QueuedMail":
        """Return a mail to whoever has an account with this address, which may be nobody."""
        return QueuedMail(mail_id, kind, address, now, now, origin=origin)

    @staticmethod
    def about(
        mail_id: MailId,
        kind: MailKind,
        user: User,
        now: datetime,
        origin: Origin,
        *,
        address: str | None = None,
        details: tuple[tuple[str, str], ...] = (),
    ) -> "QueuedMail":
        """Return a mail about what a user did, or what was done to them.

        Args:
            address: where it goes; None for the user's own address as it is now.
        """
        return QueuedMail(
            mail_id,
            kind,
            address or user.email,
            now,
            now,
            user_id=user.id,
            credentials_version=user.credentials_version,
            origin=origin,
            details=details,
        )

    def claimed(self, until: datetime) -> "QueuedMail":
        """Return it as somebody tries to send it who is believed dead at `until`."""
        return replace(self, attempts=self.attempts + 1, next_attempt_at=until)

    def failed(self, at: datetime, failure: str, *, for_good: bool) -> "QueuedMail":
        """Return it after a failed attempt: it waits, twice as long each time, or is dead.

        Args:
            for_good: whether another attempt would fail too.
        """
        if for_good or self.attempts >= MAX_ATTEMPTS_TO_SEND:
            return replace(self, dead_at=at, failure=failure)
        pause = min(_FIRST_PAUSE * 2 ** min(self.attempts - 1, 10), _LONGEST_PAUSE)
        return replace(self, next_attempt_at=at + pause, failure=failure)


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says, before it is put into words.

    Attributes:
        to: the address it goes to.
        name: how the person wants to be called, None where that is not known.
        token: goes into the link, None for a mail that asks for nothing.
        token_ttl: how long the link is good.
        origin: who asked for it.
        details: short texts, by name.
    """

    kind: MailKind
    to: str
    name: str | None = None
    token: Secret | None = None
    token_ttl: timedelta | None = None
    origin: Origin = field(default_factory=Origin)
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Mail:
    """What is sent; its text may hold a link that is a secret, and so is not shown.

    Attributes:
        message_id: the same each time it is tried, so that a mail server can see a repetition.
    """

    to: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    message_id: MailId | None = None
