"""Access tokens for the tests of a service that verifies them, with no server to issue any.

```python
protect(app, make_verifier())
token = make_token(permissions={"notes:read"})
client.get("/notes", headers={"Authorization": f"Bearer {token}"})
```
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyturn.adapters.pyjwt.key_ring import Key
from keyturn.ports.system import Clock
from keyturn.verifier.token_verifier import StaticTokenVerifier

TEST_ISSUER = "https://keyturn.test"
"""The `iss` of tokens for tests."""

TEST_AUDIENCE = "keyturn"
"""Their `aud`."""


def make_token(
    *,
    user_id: UUID | None = None,
    session_id: UUID | None = None,
    roles: Collection[str] = (),
    permissions: Collection[str] | None = (),
    scope: Collection[str] | None = None,
    client_id: str = "keyturn",
    epoch: int = 0,
    issuer: str = TEST_ISSUER,
    audience: str = TEST_AUDIENCE,
    auth_time: datetime | None = None,
    issued_at: datetime | None = None,
    lifetime: timedelta = timedelta(minutes=15),
) -> str:
    """Return an access token as keyturn issues them, signed with a key of this process.

    Args:
        user_id: whose it is; a new user by default.
        session_id: the login that it belongs to; a new one by default.
        permissions: None for a token that does not tell them.
        scope: None for a token that is not limited.
        audience: the one resource that the token is for.
        auth_time: when the person last proved who they are, aware; `issued_at` by default.
        issued_at: aware; now by default. In the past, it makes a token that has expired.
        lifetime: from then on, in whole seconds.
    """
    began = issued_at or datetime.now(UTC)
    payload: dict[str, object] = {
        "iss": issuer,
        "aud": audience,
        "sub": str(user_id or uuid4()),
        "auth_time": int((auth_time or began).timestamp()),
        "iat": int(began.timestamp()),
        "exp": int((began + lifetime).timestamp()),
        "jti": str(uuid4()),
        "sid": str(session_id or uuid4()),
        "epoch": epoch,
        "client_id": client_id,
        "type": "access",
        "roles": sorted(roles),
    }
    if permissions is not None:
        payload["permissions"] = sorted(permissions)
    if scope is not None:
        payload["scope"] = " ".join(sorted(scope))
    headers = {"typ": "at+jwt", "kid": _key().kid}
    return jwt.encode(payload, _private_key(), algorithm="EdDSA", headers=headers)


def make_verifier(
    *, issuer: str = TEST_ISSUER, audience: str = TEST_AUDIENCE, clock: Clock | None = None
) -> StaticTokenVerifier:
    """Return a verifier that trusts what `make_token` makes."""
    return StaticTokenVerifier(public_jwks(), issuer=issuer, audience=audience, clock=clock)


def public_jwks() -> Mapping[str, object]:
    """Return the public key that `make_token` signs with, as a JWK Set."""
    return {"keys": [_key().public_jwk()]}


@cache
def _private_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@cache
def _key() -> Key:
    return Key(_private_key())
