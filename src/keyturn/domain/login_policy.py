"""How wrong passwords slow down the next one."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from keyturn.domain.user import User

MAX_CONSECUTIVE_FAILURES = 100
"""NIST SP 800-63B-4 §3.2.2."""


@dataclass(frozen=True, slots=True)
class LoginPolicy:
    """Who may log in with the right password, and how soon after a wrong one.

    After a few wrong passwords each next one costs a wait twice as long as the one before. A
    device that the account is, or was lately, logged in on does not wait: nobody can lock its
    owner out by guessing from elsewhere. The last of the hundred guesses are kept for it.

    Args:
        free_failures: wrong passwords in a row that cost no wait.
        longest_wait: what the wait grows to.
        max_failures: wrong passwords in a row after which only a reset of the password helps.
        kept_for_known_devices: of these, how many no other device can use up.
        requires_verified_email: whether only who has verified the address may log in.

    Raises:
        ValueError: the numbers are weaker than allowed, or contradict each other.
    """

    free_failures: int = 5
    longest_wait: timedelta = timedelta(minutes=15)
    max_failures: int = MAX_CONSECUTIVE_FAILURES
    kept_for_known_devices: int = 10
    requires_verified_email: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.max_failures <= MAX_CONSECUTIVE_FAILURES:
            raise ValueError("at most 100 wrong passwords in a row can be allowed")
        if not 0 <= self.free_failures < self.max_failures - self.kept_for_known_devices:
            raise ValueError("the waits must begin before the last wrong password")

    @property
    def failures_from_anywhere(self) -> int:
        """After so many wrong passwords in a row, unknown devices are turned away."""
        return self.max_failures - self.kept_for_known_devices

    def wait_after(self, failures: int) -> timedelta:
        """Return how long an unknown device waits after so many wrong passwords in a row."""
        doublings = failures - self.free_failures - 1
        if doublings < 0:
            return timedelta(0)
        # Capped before the power: a large exponent is a large number.
        return min(timedelta(seconds=2 ** min(doublings, 20)), self.longest_wait)

    def admits(self, user: User, now: datetime, *, from_known_device: bool) -> bool:
        """Return whether a password for `user` counts at all now, right or wrong."""
        if from_known_device:
            return user.failed_logins < self.max_failures
        if user.failed_logins >= self.failures_from_anywhere:
            return False
        if user.last_failed_login_at is None:
            return True
        # As a distance: a clock that was set back makes nobody wait longer than the longest wait.
        since = abs(now - user.last_failed_login_at)
        return since >= self.wait_after(user.failed_logins)
