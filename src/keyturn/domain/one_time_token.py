"""What a link in a mail proves: that whoever follows it reads the mail of an address."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from keyturn.domain.ids import UserId
from keyturn.domain.secret import Secret
from keyturn.domain.user import User, canonical_email


class TokenPurpose(StrEnum):
    """The one thing that a one-time token is good for."""

    VERIFY_EMAIL = "verify_email"
    CHANGE_EMAIL = "change_email"
    RESET_PASSWORD = "reset_password"


@dataclass(frozen=True, slots=True)
class OneTimeTokenPolicy:
    """How long the links in mails are good (OWASP ASVS 5.0 V6.4.1, V6.5.5).

    Raises:
        ValueError: a lifetime is out of its bounds.
    """

    verification_ttl: timedelta = timedelta(hours=24)
    reset_ttl: timedelta = timedelta(minutes=30)

    def __post_init__(self) -> None:
        if not timedelta(minutes=5) <= self.verification_ttl <= timedelta(days=7):
            raise ValueError("a link that verifies an address must live 5 minutes to 7 days")
        if not timedelta(minutes=5) <= self.reset_ttl <= timedelta(hours=24):
            raise ValueError("a link that resets a password must live 5 minutes to 24 hours")

    def ttl(self, purpose: TokenPurpose) -> timedelta:
        """Return how long a token of this purpose lives."""
        if purpose is TokenPurpose.RESET_PASSWORD:
            return self.reset_ttl
        return self.verification_ttl


@dataclass(frozen=True, slots=True)
class OneTimeToken:
    """A token that was sent by mail, as it is stored: its digest only.

    Attributes:
        digest: of the token's text; see `digest_of`.
        email: where it was sent, which is what following it proves.
        credentials_version: the user's when it was made; once that has moved, it is void.
    """

    digest: str = field(repr=False)
    purpose: TokenPurpose
    user_id: UserId
    email: str
    credentials_version: int
    created_at: datetime
    expires_at: datetime

    def is_good_for(self, purpose: TokenPurpose, user: User, now: datetime) -> bool:
        """Return whether it does what it was made for, for this user as stored now."""
        return (
            self.purpose is purpose
            and self.user_id == user.id
            and self.credentials_version == user.credentials_version
            and now < self.expires_at
            and (
                purpose is TokenPurpose.CHANGE_EMAIL
                or canonical_email(self.email) == canonical_email(user.email)
            )
        )


def digest_of(token: Secret) -> str:
    """Return what is stored of a token: SHA-256, enough for one of 256 random bits.

    Args:
        token: as presented, which may be anything.
    """
    return hashlib.sha256(token.reveal().encode("utf-8", "surrogatepass")).hexdigest()
