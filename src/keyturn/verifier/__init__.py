"""What another service imports to check keyturn's access tokens.

```python
verifier = TokenVerifier(
    issuer="https://auth.example.com",
    audience="keyturn",
    revocations=RevocationFeed(client_id="notes", client_secret=os.environ["NOTES_SECRET"]),
)
async with verifier:
    principal = await verifier.authenticate(token)
```

It needs no database, no web framework and no key that could sign. `keyturn.verifier.fastapi` has
the dependencies for FastAPI, `keyturn.verifier.middleware` an ASGI middleware.
"""

from keyturn.adapters.jwks.remote_keys import KeyFetching, KeysUnavailable
from keyturn.domain.errors import (
    AuthenticationFailed,
    AuthenticationRequired,
    InvalidAccessToken,
    KeyturnError,
    PermissionDenied,
    RevocationsUnknown,
    Unavailable,
    WrongAudience,
)
from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.verifier.revocation_choices import IgnoreRevocations, RevocationFeed, WhenLost
from keyturn.verifier.token_verifier import StaticTokenVerifier, TokenVerifier

__all__ = [
    "AuthenticationFailed",
    "AuthenticationRequired",
    "IgnoreRevocations",
    "InvalidAccessToken",
    "KeyFetching",
    "KeysUnavailable",
    "KeyturnError",
    "PermissionDenied",
    "Principal",
    "RevocationFeed",
    "RevocationsUnknown",
    "Secret",
    "StaticTokenVerifier",
    "TokenVerifier",
    "Unavailable",
    "WhenLost",
    "WrongAudience",
]
