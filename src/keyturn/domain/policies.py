"""The numbers that a deployment may choose, with bounds that keep them safe."""

import re
import string
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from keyturn.domain.errors import PasswordNotText, PasswordTooLong, PasswordTooShort
from keyturn.domain.secret import Secret
from keyturn.domain.user import fold_address

MAX_CLOCK_SKEW = timedelta(seconds=60)
"""How far the clock of another worker may be ahead: its tokens are good here at once."""

MAX_GRACE = timedelta(seconds=60)
SHORTEST_PASSWORD = 8

_SHORTEST_CONTEXT_WORD = 4
_NOT_TEXT = re.compile(r"[\x00\ud800-\udfff]")
_BETWEEN_WORDS = re.compile(r"[\s.+_@-]+")
_AROUND_A_WORD = string.digits + string.punctuation + string.whitespace


def revoked_until(revoked_at: datetime, longest_access_ttl: timedelta) -> datetime:
    """Return when a revocation entry of a session or a user may expire.

    Every access token that any worker has issued until `revoked_at` has expired by then.

    Args:
        revoked_at: the moment of the revocation, aware UTC.
        longest_access_ttl: the longest lifetime that any process ever gave to access tokens.
    """
    return revoked_at + longest_access_ttl + MAX_CLOCK_SKEW


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """How long tokens and sessions live.

    Args:
        access_ttl: lifetime of an access token.
        idle_ttl: a family that is not refreshed for this long ends.
        absolute_ttl: a family ends this long after its login, however often it is refreshed.
        grace: how long after a rotation the token before may still ask for the same successor;
            zero is strict: every second use is reuse. At most 60 seconds.
        max_sessions: live families per user; a login beyond it ends the least recently used one.

    Raises:
        ValueError: a number is out of its bounds, or one contradicts another.
    """

    access_ttl: timedelta = timedelta(minutes=15)
    idle_ttl: timedelta = timedelta(days=7)
    absolute_ttl: timedelta = timedelta(days=30)
    grace: timedelta = timedelta(seconds=10)
    max_sessions: int = 5

    def __post_init__(self) -> None:
        if self.access_ttl < timedelta(seconds=1):
            raise ValueError("the access token lifetime must be at least one second")
        if self.idle_ttl <= self.access_ttl:
            raise ValueError("the idle lifetime must exceed the access token lifetime")
        if self.absolute_ttl < self.idle_ttl:
            raise ValueError("the absolute lifetime must not be shorter than the idle lifetime")
        if not timedelta(0) <= self.grace <= MAX_GRACE:
            raise ValueError("the grace window must be between 0 and 60 seconds")
        if self.max_sessions < 1:
            raise ValueError("at least one session per user must be allowed")

    @property
    def longest_token_life(self) -> timedelta:
        """After this, every access and refresh token that any worker has signed has expired.

        Device tokens live longer. One whose key is gone counts as none, which costs a wait.
        """
        return self.absolute_ttl + MAX_CLOCK_SKEW


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """Which passwords are accepted (NIST SP 800-63B-4 §3.1.1.2, OWASP ASVS 5.0 V6.2).

    No composition rules, no truncation; a length is counted in characters after NFC.

    Args:
        min_length: characters; 15 where the password is the only factor, never below 8.
        max_length: characters.

    Raises:
        ValueError: the bounds contradict each other or are weaker than allowed.
    """

    min_length: int = 15
    max_length: int = 1024

    def __post_init__(self) -> None:
        if self.min_length < SHORTEST_PASSWORD:
            raise ValueError(
                f"passwords of fewer than {SHORTEST_PASSWORD} characters can't be allowed"
            )
        if self.max_length < max(64, self.min_length):
            raise ValueError("passwords of 64 characters and of the minimum length must be allowed")

    def normalise(self, password: Secret) -> Secret:
        """Return the password as it is hashed and compared: Unicode NFC, otherwise unchanged.

        Raises:
            PasswordNotText: it holds a NUL or a lone surrogate.
            PasswordTooLong: it is longer than the policy allows, before or after NFC.
        """
        text = password.reveal()
        # NFC of a hostile text costs time in proportion to it: bound it first.
        if len(text) > 4 * self.max_length:
            raise PasswordTooLong(f"A password has at most {self.max_length} characters.")
        if _NOT_TEXT.search(text):
            raise PasswordNotText
        normal = unicodedata.normalize("NFC", text)
        if len(normal) > self.max_length:
            raise PasswordTooLong(f"A password has at most {self.max_length} characters.")
        return Secret(normal)

    def accept(self, password: Secret) -> Secret:
        """Return the normalised password if it may be set as a new one.

        Raises:
            PasswordNotText: it holds a NUL or a lone surrogate.
            PasswordTooShort: it has too few characters.
            PasswordTooLong: it has too many.
        """
        normal = self.normalise(password)
        if len(normal) < self.min_length:
            raise PasswordTooShort(f"A password has at least {self.min_length} characters.")
        return normal


def context_words(service_name: str, email: str | None) -> tuple[str, ...]:
    """Return what is guessed first of this service and this person (NIST SP 800-63B-4 §3.1.1.2).

    These are the address, and the name of the service, the local part and the labels of the domain
    but the last one, each of the three as a whole and in its parts. A word of fewer than four
    characters is in too many passwords by chance and does not count.

    Args:
        service_name: as people know it.
        email: as the person wrote it, None where it is not known.

    Returns:
        The words, case folded, longest first.
    """
    address = fold_address(email or "")
    local, _, domain = address.rpartition("@")
    wholes = (fold_address(service_name), local, domain.rpartition(".")[0])
    words = {address, *wholes, *(part for whole in wholes for part in _BETWEEN_WORDS.split(whole))}
    counting = (word for word in words if len(word) >= _SHORTEST_CONTEXT_WORD)
    return tuple(sorted(counting, key=lambda word: (-len(word), word)))


def is_too_personal(password: Secret, words: tuple[str, ...]) -> bool:
    """Return whether little of a normalised password is left without some words.

    Taken out with a word are the digits, punctuation and blanks around it. Too little is left
    where that alone would be too short for any password.

    Args:
        words: of `context_words`.
    """
    if not words:
        return False
    found = re.compile("|".join(map(re.escape, words)))
    first, *others = found.split(fold_address(password.reveal()))
    if not others:
        return False
    *between, last = others
    left = (
        first.rstrip(_AROUND_A_WORD),
        *(part.strip(_AROUND_A_WORD) for part in between),
        last.lstrip(_AROUND_A_WORD),
    )
    return sum(map(len, left)) < SHORTEST_PASSWORD


class ClaimsPolicy(StrEnum):
    """What an access token says of its user's rights; never an e-mail address or a plan."""

    ROLES = "roles"
    ROLES_AND_PERMISSIONS = "roles+permissions"
    NONE = "none"
