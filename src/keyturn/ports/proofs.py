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


class ProofChecker(Protocol):
    """Checks proofs, and takes each once.

    Whatever is presented, and however hostile it is, checking names a key or raises one of the
    three errors, which never say what was wrong.
    """

    @abstractmethod
    def check(self, proof: Proof, now: datetime, access_token: Secret | None = None) -> str:
        """Return the thumbprint (RFC 7638) of the key that the proof was made with, without I/O.

        Args:
            now: aware UTC.
            access_token: the one that the proof must be made for, None where none is presented.

        Raises:
            InvalidProof: not signed by the public key that it shows, with an algorithm other than
                those allowed, for another method, URL or access token, too old, or seen before.
            ProofNonceRequired: it lacks a fresh nonce, where one is asked for.
            ProofsBusy: more proofs than can be remembered are fresh.
        """

    @abstractmethod
    async def nonce(self, now: datetime) -> str:
        """Return what a proof may hold as its nonce for a while (RFC 9449 §8).

        Raises:
            Unavailable: the signing key can't be reached.
        """
