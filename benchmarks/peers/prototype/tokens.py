"""The tokens of the hand-written prototypes: what keyturn's tell, by PyJWT alone."""

import os
import time
import uuid

import jwt

SECRET = os.environ["BENCH_SECRET"]
ALGORITHM = "HS256"
KID = "prototype"
ISSUER = "http://127.0.0.1:8000"
ACCESS_SECONDS = 900
REFRESH_SECONDS = 7 * 86400


def access_token(
    user: str, family: str, now: int, *, epoch: int, roles: list[str], permissions: list[str]
) -> str:
    """Return an access token as RFC 9068 has it."""
    claims = {
        "iss": ISSUER,
        "aud": "keyturn",
        "sub": user,
        "iat": now,
        "exp": now + ACCESS_SECONDS,
        "jti": str(uuid.uuid4()),
        "sid": family,
        "epoch": epoch,
        "client_id": "keyturn",
        "type": "access",
        "roles": roles,
        "permissions": permissions,
    }
    return jwt.encode(claims, SECRET, ALGORITHM, headers={"kid": KID, "typ": "at+jwt"})


def refresh_token(user: str, family: str, token_id: str, now: int) -> str:
    """Return a refresh token."""
    claims = {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": user,
        "iat": now,
        "exp": now + REFRESH_SECONDS,
        "jti": token_id,
        "sid": family,
        "type": "refresh",
    }
    return jwt.encode(claims, SECRET, ALGORITHM, headers={"kid": KID, "typ": "rt+jwt"})


def refresh_claims(token: str) -> dict[str, str]:
    """Return what a refresh token says, or raise PyJWT's error."""
    claims: dict[str, str] = jwt.decode(
        token,
        SECRET,
        [ALGORITHM],
        audience=ISSUER,
        issuer=ISSUER,
        options={"require": ["exp", "iat", "jti", "sub", "sid"]},
    )
    if claims.get("type") != "refresh":
        raise jwt.InvalidTokenError
    return claims


def answer(user: str, family: str, token_id: str, row: tuple[int, str, str]) -> dict[str, object]:
    """Return the new tokens, for a row of epoch, roles and permissions with commas between."""
    epoch, roles, permissions = row
    now = int(time.time())
    access = access_token(
        user, family, now, epoch=epoch, roles=roles.split(","), permissions=permissions.split(",")
    )
    return {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": ACCESS_SECONDS,
        "refresh_token": refresh_token(user, family, token_id, now),
        "refresh_expires_in": REFRESH_SECONDS,
        "refresh_after": ACCESS_SECONDS * 4 // 5,
        "session_id": family,
        "outcome": "rotated",
    }
