"""A request says who is calling."""

from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.ports.system import Clock
from keyturn.ports.tokens import AccessTokenReader
from keyturn.use_cases.revocation_replica import RevocationReplica


class AuthenticateAccess:
    """Verifies an access token, without any I/O."""

    def __init__(
        self, tokens: AccessTokenReader, revocations: RevocationReplica, clock: Clock
    ) -> None:
        self._tokens = tokens
        self._revocations = revocations
        self._clock = clock

    def execute(self, access_token: Secret) -> Principal:
        """Return the caller.

        Raises:
            InvalidAccessToken: the token is malformed, forged, expired, revoked or of another kind.
            RevocationsUnknown: nobody can tell at the moment whether it is revoked.
        """
        now = self._clock.now()
        claims = self._tokens.decode_access(access_token, now)
        self._revocations.check(claims, now)
        return Principal.of(claims)
