"""A client that wants tokens proves that it holds a key."""

from keyturn.ports.proofs import Proof, ProofChecker
from keyturn.ports.system import Clock


class CheckProof:
    """Says to which key new tokens are bound (RFC 9449 §5)."""

    def __init__(self, proofs: ProofChecker | None, clock: Clock) -> None:
        """Check with `proofs`; without one, no tokens are bound."""
        self._proofs = proofs
        self._clock = clock

    def execute(self, proof: Proof | None) -> str | None:
        """Return the thumbprint of the client's key, None if none is presented or wanted.

        Raises:
            InvalidProof: the proof is not good.
            ProofNonceRequired: it lacks a fresh nonce.
            ProofsBusy: more proofs than can be remembered are fresh.
        """
        if proof is None or self._proofs is None:
            return None
        return self._proofs.check(proof, self._clock.now())

    async def nonce(self) -> str | None:
        """Return what a proof may hold as its nonce for a while, None if no proof is wanted.

        Raises:
            Unavailable: the signing key can't be reached.
        """
        return None if self._proofs is None else await self._proofs.nonce(self._clock.now())
