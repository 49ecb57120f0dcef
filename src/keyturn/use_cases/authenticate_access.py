"""A request says who is calling."""

from datetime import datetime

from keyturn.domain.claims import AccessClaims
from keyturn.domain.errors import InvalidAccessToken, LoginTooOld, WrongAudience
from keyturn.domain.principal import Principal
from keyturn.domain.resource import AccessRule
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
        *,
        rule: AccessRule,
    ) -> None:
        """Check tokens for requests that name no rule of their own by `rule`.

        Bound tokens are checked with `proofs`; without one, no bound token is good.
        """
        self._tokens = tokens
        self._revocations = revocations
        self._clock = clock
        self._proofs = proofs
        self._rule = rule

    def execute(
        self, access_token: Secret, proof: Proof | None = None, *, rule: AccessRule | None = None
    ) -> Principal:
        """Return the caller.

        Args:
            proof: what came with the token, None where it is presented as a bearer token.
            rule: which tokens the request accepts; None for the rule of the constructor.

        Raises:
            WrongAudience: the token is for another resource.
            LoginTooOld: the person proved who they are longer ago than the rule allows.
            InvalidAccessToken: the token is malformed, forged, expired, revoked or of another kind;
                or it is bound to a key and presented without it, or the other way round.
            InvalidProof: the proof is not good.
            ProofNonceRequired: it lacks a fresh nonce.
            ProofsBusy: more proofs than can be remembered are fresh.
            RevocationsUnknown: nobody can tell at the moment whether it is revoked.
        """
        now = self._clock.now()
        rule = rule or self._rule
        try:
            claims = self._tokens.decode_access(access_token, now, audiences=rule.audiences)
        except WrongAudience:
            claims = None
        if claims is None:
            # Raised out here, the error has no context that could hold a part of the token.
            raise WrongAudience(rule.resource)
        self._revocations.check(claims, now)
        if claims.key_thumbprint is not None or proof is not None:
            self._check_key(claims, access_token, proof, now)
        if rule.max_age is not None and now - claims.auth_time > rule.max_age:
            raise LoginTooOld(int(rule.max_age.total_seconds()))
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
