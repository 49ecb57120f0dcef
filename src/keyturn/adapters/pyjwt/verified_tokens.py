"""What verified access tokens say, remembered so that a signature is checked once."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from keyturn.adapters.pyjwt.key_ring import VerificationKey
from keyturn.domain.claims import AccessClaims

MAX_REMEMBERED = 8192
"""Tokens that one reader remembers; about 10 MB."""


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a token says, and the key that signed it.

    It was good when it was verified; whether the key, the clock and the revocations still allow it
    is for whoever looks to ask, each time.

    Attributes:
        not_before: before this moment the token must not be accepted, aware UTC; None for a token
            that has no such moment.
    """

    key: VerificationKey
    claims: AccessClaims
    not_before: datetime | None = None


class VerifiedTokens:
    """Remembers a bounded number of tokens, those that are asked for rather than the others.

    Holds digests: a token itself is gone when its request is over. There are two generations, and
    what is found in the older one moves to the younger. When that is full, the older is forgotten.
    """

    def __init__(self, at_most: int = MAX_REMEMBERED) -> None:
        """Remember up to `at_most` tokens, at least two."""
        self._half = at_most // 2
        self._young: dict[bytes, VerifiedToken] = {}
        self._old: dict[bytes, VerifiedToken] = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def find(self, digest: bytes) -> VerifiedToken | None:
        """Return what is remembered of the token with this digest, None if nothing is."""
        found = self._young.get(digest)
        if found is None and (found := self._old.pop(digest, None)) is not None:
            self.remember(digest, found)
        return found

    def remember(self, digest: bytes, token: VerifiedToken) -> None:
        """Remember a token that has just proved to be good."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[digest] = token

    def forget(self, digest: bytes) -> None:
        """Forget a token."""
        self._young.pop(digest, None)
        self._old.pop(digest, None)


def digest_of(token: str) -> bytes:
    """Return by what a token is remembered; who finds it out knows nothing of the token."""
    return hashlib.sha256(token.encode()).digest()
