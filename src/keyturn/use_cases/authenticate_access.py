"""A request says who is calling."""

from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.ports.system import Clock
from keyturn.ports.tokens import TokenCodec
from keyturn.use_cases.revocation_replica import RevocationReplica


class AuthenticateAccess:
    """Verifies an access token, without any I/O."""

    def __init__(self, codec: TokenCodec, revocations: RevocationReplica, clock: Clock) -> None:
        self._codec = codec
        self._revocations = revocations
        self._clock = clock

    def execute(self, access_token: Secret) -> Principal:
        """Return the caller.

        Raises:
            InvalidAccessToken: the token is malformed, forged, expired, revoked or of another kind.
            RevocationsUnknown: nobody can tell at the moment whether it is revoked.
        """
        now = self._clock.now()
        claims = self._codec.decode_access(access_token, now)
        self._revocations.check(claims, now)
        return Principal.of(claims)
