"""How a service that verifies tokens learns which of them are revoked; it has to choose."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from keyturn.domain.secret import Secret


class WhenLost(StrEnum):
    """What becomes of tokens while the revocation feed can't be read for too long."""

    FAIL_CLOSED = "fail_closed"
    """No token is trusted: 503 until the feed can be read again."""

    FAIL_OPEN = "fail_open"
    """Every token is trusted that is not known to be revoked: one stolen may live until it ends."""


@dataclass(frozen=True, slots=True)
class RevocationFeed:
    """Follow the feed, as a client that may read it (`keyturn clients add`).

    Args:
        client_id, client_secret: who this service is to keyturn.
        lag: how long a token that was revoked may live on here.
        max_staleness: without the feed for longer than this, `when_lost` decides.
        when_lost: fails closed unless said otherwise.

    Raises:
        ValueError: a name is empty, or the staleness does not exceed the lag.
    """

    client_id: str
    client_secret: Secret | str
    lag: timedelta = timedelta(seconds=1)
    max_staleness: timedelta = timedelta(seconds=10)
    when_lost: WhenLost = WhenLost.FAIL_CLOSED

    def __post_init__(self) -> None:
        if isinstance(self.client_secret, str):
            # The representation of this object must not show it.
            object.__setattr__(self, "client_secret", Secret(self.client_secret))
        if not self.client_id or not self.client_secret:
            raise ValueError("the revocation feed is read by a client that has an id and a secret")
        if self.lag < timedelta(milliseconds=100):
            raise ValueError("the feed can't be read more often than ten times in a second")
        if self.max_staleness <= self.lag:
            raise ValueError("the staleness that is allowed must exceed the lag")


@dataclass(frozen=True, slots=True)
class IgnoreRevocations:
    """Follow no feed: a token is good until it expires, whoever logs out or is disabled."""


RevocationChoice = RevocationFeed | IgnoreRevocations
"""One or the other, said by whoever makes a verifier."""
