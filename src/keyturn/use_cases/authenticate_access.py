"""A request says who is calling."""

from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.ports.system import Clock
from keyturn.ports.tokens import TokenCodec


class AuthenticateAccess:
    """Verifies an access token, without any I/O."""

    def __init__(self, codec: TokenCodec, clock: Clock) -> None:
        self._codec = codec
        self._clock = clock

    def execute(self, access_token: Secret) -> Principal:
        """Return the caller.

        Raises:
            InvalidAccessToken: the token is malformed, forged, expired or of another kind.
        """
        return Principal.of(self._codec.decode_access(access_token, self._clock.now()))
