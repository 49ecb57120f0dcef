"""A client that wants tokens proves that it holds a key."""

from keyturn.ports.proofs import CheckedProof, Proof, ProofChecker
from keyturn.ports.system import Clock


class CheckProof:
    """Names the key that new tokens are bound to (RFC 9449 §5), and uses up its proof.

    The request is checked first. The use-case that verifies its credentials then uses the proof.
    """

    def __init__(self, proofs: ProofChecker | None, clock: Clock) -> None:
        """Check with `proofs`; without one, no tokens are bound."""
        self._proofs = proofs
        self._clock = clock

    def execute(self, proof: Proof | None) -> CheckedProof | None:
        """Return the client's key and proof, None if none is presented or wanted.

        Raises:
            InvalidProof: the proof is not good, or was used before.
            ProofNonceRequired: it lacks a fresh nonce.
        """
        if proof is None or self._proofs is None:
            return None
        return self._proofs.check(proof, self._clock.now())

    def use(self, checked: CheckedProof | None) -> None:
        """Use up a proof whose credentials are good, before anything is committed for it.

        Raises:
            InvalidProof: another request has used it since it was checked, or it is too old.
            ProofsBusy: more proofs than can be remembered are fresh.
        """
        if checked is not None and self._proofs is not None:
            self._proofs.use(checked, self._clock.now())

    async def nonce(self) -> str | None:
        """Return what a proof may hold as its nonce for a while, None if no proof is wanted.

        Raises:
            Unavailable: the signing key can't be reached.
        """
        return None if self._proofs is None else await self._proofs.nonce(self._clock.now())
