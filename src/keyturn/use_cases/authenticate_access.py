"""A request says who is calling."""

from datetime import datetime

from keyturn.domain.claims import AccessClaims
from keyturn.domain.errors import InvalidAccessToken
from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.ports.proofs import Proof, ProofChecker
from keyturn.ports.system import Clock
from keyturn.ports.tokens import AccessTokenReader
from keyturn.use_cases.revocation_replica import RevocationReplica


class AuthenticateAccess:
    """Verifies an access token, without any I/O."""

    def __init__(
        self,
        tokens: AccessTokenReader,
        revocations: RevocationReplica,
        clock: Clock,
        proofs: ProofChecker | None = None,
    ) -> None:
        """Check bound tokens with `proofs`; without one, no bound token is good."""
        self._tokens = tokens
        self._revocations = revocations
        self._clock = clock
        self._proofs = proofs

    def execute(self, access_token: Secret, proof: Proof | None = None) -> Principal:
        """Return the caller.

        Args:
            proof: what came with the token, None where it is presented as a bearer token.

        Raises:
            InvalidAccessToken: the token is malformed, forged, expired, revoked or of another kind;
                or it is bound to a key and presented without it, or the other way round.
            InvalidProof: the proof is not good.
            ProofNonceRequired: it lacks a fresh nonce.
            ProofsBusy: more proofs than can be remembered are fresh.
            RevocationsUnknown: nobody can tell at the moment whether it is revoked.
        """
        now = self._clock.now()
        claims = self._tokens.decode_access(access_token, now)
        self._revocations.check(claims, now)
        if claims.key_thumbprint is not None or proof is not None:
            self._check_key(claims, access_token, proof, now)
        return Principal.of(claims)

    def _check_key(
        self, claims: AccessClaims, access_token: Secret, proof: Proof | None, now: datetime
    ) -> None:
        # RFC 9449 §7.2: no downgrade to bearer, whatever else the request holds.
        if claims.key_thumbprint is None or proof is None or self._proofs is None:
            raise InvalidAccessToken
        checked = self._proofs.check(proof, now, access_token)
        if checked.key_thumbprint != claims.key_thumbprint:
            raise InvalidAccessToken
        # Last of all: only a proof that came with a good token is remembered.
        self._proofs.use(checked, now)
