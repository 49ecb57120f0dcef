"""How a client proves that it holds a key, without showing it (DPoP, RFC 9449)."""

from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from keyturn.domain.secret import Secret


@dataclass(frozen=True, slots=True)
class Proof:
    """A DPoP proof, and the request that it came with.

    Attributes:
        text: as presented, which may be anything.
        method: of the request.
        url: where clients find what was asked for; query and fragment count for nothing.
    """

    text: Secret
    method: str
    url: str


@dataclass(frozen=True, slots=True)
class CheckedProof:
    """A proof that is good and was not used before the check.

    Attributes:
        key_thumbprint: of the key that the proof was made with (RFC 7638).
        digest: names the proof, for the memory of used ones.
        expires_at: when the proof is too old, aware UTC.
    """

    key_thumbprint: str
    digest: bytes
    expires_at: datetime


class ProofChecker(Protocol):
    """Checks proofs, and accepts each once.

    Whatever is presented, and however hostile it is, checking names a key or raises one of the
    errors, which never say what was wrong.

    A proof is checked first and used later, when the credentials that came with it have been
    verified: anybody can make proofs, and must not fill the memory of used ones with them.
    """

    @abstractmethod
    def check(
        self, proof: Proof, now: datetime, access_token: Secret | None = None
    ) -> CheckedProof:
        """Return the key that the proof was made with, without I/O. Remembers nothing.

        Args:
            now: aware UTC.
            access_token: the one that the proof must be made for, None where none is presented.

        Raises:
            InvalidProof: not signed by the public key that it shows, with an algorithm other than
                those allowed, with a weak key, for another method, URL or access token, too old,
                or used before.
            ProofNonceRequired: it lacks a fresh nonce, where one is asked for.
        """

    @abstractmethod
    def use(self, checked: CheckedProof, now: datetime) -> None:
        """Remember a checked proof as used, without I/O.

        Must be atomic: of any number of requests that have checked the same proof, one may use it.

        Args:
            now: aware UTC.

        Raises:
            InvalidProof: it was used since it was checked, or has become too old.
            ProofsBusy: more proofs than can be remembered are fresh.
        """

    @abstractmethod
    async def nonce(self, now: datetime) -> str:
        """Return what a proof may hold as its nonce for a while (RFC 9449 §8).

        Raises:
            Unavailable: the signing key can't be reached.
        """
