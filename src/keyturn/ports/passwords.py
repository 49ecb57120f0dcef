"""How passwords are hashed and which of them are refused."""

from abc import abstractmethod
from typing import Protocol

from keyturn.domain.secret import Secret
from keyturn.domain.source import Source
from keyturn.domain.strength import Strength


class PasswordHasher(Protocol):
    """Hashes and verifies passwords, off the event loop and bounded in number.

    Waiting calls are executed in turn by source, one of each: a call waits for at most one call of
    every other waiting source, besides those that run and earlier ones of its own source. Two
    sources of one `queueing_source` are one here.

    At most a fixed number of calls may wait. Beyond it the source with the most waiting calls gives
    way: its newest call raises `HashingBusy`. A call whose own source would have the most raises
    `HashingBusy` itself. A cancelled call leaves the queue and frees its place; once it runs it is
    executed to its end.
    """

    @abstractmethod
    async def hash(self, password: Secret, *, source: Source) -> str:
        """Return a salted hash in PHC string format; two calls never return the same.

        Args:
            source: the request's, see `source_of`.

        Raises:
            HashingBusy: too many calls wait.
        """

    @abstractmethod
    async def verify(self, password_hash: str | None, password: Secret, *, source: Source) -> bool:
        """Return whether `password` is the one that was hashed.

        With `None` for an unknown user it does the same work and returns False, so that the time
        taken tells nobody whether a user exists. A hash that it can't read is False too.

        Args:
            source: the request's, see `source_of`.

        Raises:
            HashingBusy: too many calls wait.
        """

    @abstractmethod
    def needs_rehash(self, password_hash: str) -> bool:
        """Return whether the hash was made otherwise than one would be made today."""

    @abstractmethod
    def can_verify(self, password_hash: str) -> bool:
        """Return whether `verify` can read the hash and would do the work that it asks for."""


class ForeignHashes(Protocol):
    """Hashes that other systems made, for a `PasswordHasher` that verifies them too.

    `verify` blocks; the hasher calls it where it calls its own.
    """

    @abstractmethod
    def recognises(self, password_hash: str) -> bool:
        """Return whether `verify` can read the hash and would do the work that it asks for."""

    @abstractmethod
    def verify(self, password_hash: str, password: bytes) -> bool:
        """Return whether the password is the one that was hashed; False for an unreadable hash.

        Args:
            password: normalised and in UTF-8.
        """


class PasswordBlocklist(Protocol):
    """Passwords that too many people use (NIST SP 800-63B-4 §3.1.1.2)."""

    @abstractmethod
    async def contains(self, password: Secret) -> bool:
        """Return whether this normalised password is listed, whatever its case."""


class BreachedPasswords(Protocol):
    """Passwords that are known from breaches of other services (OWASP ASVS 5.0 V6.2.12)."""

    @abstractmethod
    async def contains(self, password: Secret) -> bool:
        """Return whether this normalised password is known.

        Whoever is asked learns next to nothing of the password. Where nobody answers in time it
        is False, which is logged: that a password may not be set must not depend on others.
        """


class StrengthEstimator(Protocol):
    """Tells how hard a password is to guess."""

    @abstractmethod
    async def estimate(self, password: Secret, words: tuple[str, ...]) -> Strength:
        """Return an estimate of this normalised password, off the event loop.

        Args:
            words: what is easily guessed of this person, such as parts of the address.
        """
