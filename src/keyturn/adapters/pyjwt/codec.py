"""Claims as signed JWTs (RFC 7519, RFC 9068) and back, as strict as RFC 8725 asks for."""

from datetime import datetime

from pydantic_core import to_json

from keyturn.adapters.pyjwt.access_token_reader import (
    ACCESS_TYP,
    ACCESS_TYPE,
    PyJwtAccessTokenReader,
)
from keyturn.adapters.pyjwt.compact_jws import MAX_TOKEN_LENGTH, RejectedToken, sign
from keyturn.adapters.pyjwt.key_ring import SigningTokenKeys
from keyturn.adapters.pyjwt.signed_claims import (
    Claims,
    expect,
    moment,
    signed_claims,
    uuid,
    whole_number,
)
from keyturn.domain.claims import AccessClaims, DeviceClaims, RefreshClaims
from keyturn.domain.errors import InvalidRefreshToken
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.policies import MAX_CLOCK_SKEW
from keyturn.domain.secret import Secret
from keyturn.ports.tokens import TokenCodec

REFRESH_TYP = "rt+jwt"
"""The header `typ` of a refresh token."""

_REFRESH_TYPE = "refresh"

DEVICE_TYP = "dt+jwt"
"""The header `typ` of a device token."""

_DEVICE_TYPE = "device"


class PyJwtCodec(TokenCodec):
    """Signs with the holder's signer and accepts what any key of the holder has signed."""

    def __init__(self, keys: SigningTokenKeys, *, issuer: str) -> None:
        """Speak as `issuer`.

        Args:
            keys: asked for the signer and the key of each token; each is used with its own
                algorithm only.
            issuer: the `iss` of all kinds, and the `aud` of refresh and device tokens.

        Raises:
            ValueError: the issuer is empty.
        """
        if not issuer:
            raise ValueError("a token codec needs an issuer")
        self._reader = PyJwtAccessTokenReader(keys, issuer=issuer)
        self._keys = keys
        self._issuer = issuer

    async def encode_access(self, claims: AccessClaims) -> Secret:
        """Return a signed access token (RFC 9068 §2).

        Raises:
            ValueError: so many roles and permissions that no server would take the token, or a
                scope value that RFC 6749 §3.3 does not allow.
            Unavailable: the key can't be reached.
        """
        payload: dict[str, object] = {
            "iss": self._issuer,
            "aud": claims.audience,
            "sub": str(claims.user_id),
            "auth_time": _seconds(claims.auth_time),
            "iat": _seconds(claims.issued_at),
            "exp": _seconds(claims.expires_at),
            "jti": str(claims.token_id),
            "sid": str(claims.family_id),
            "epoch": claims.epoch,
            "client_id": claims.client_id,
            "type": ACCESS_TYPE,
            "roles": sorted(claims.roles),
        }
        if claims.permissions is not None:
            payload["permissions"] = sorted(claims.permissions)
        if claims.scope is not None:
            payload["scope"] = _joined(claims.scope)
        if claims.key_thumbprint is not None:
            payload["cnf"] = {"jkt": claims.key_thumbprint}
        return await self._sign(payload, ACCESS_TYP)

    async def encode_refresh(self, claims: RefreshClaims) -> Secret:
        """Return a signed refresh token, the same for the same claims and signing key.

        Raises:
            Unavailable: the key can't be reached.
        """
        payload: dict[str, object] = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": str(claims.user_id),
            "iat": _seconds(claims.issued_at),
            "exp": _seconds(claims.expires_at),
            "jti": str(claims.token_id),
            "sid": str(claims.family_id),
            "type": _REFRESH_TYPE,
        }
        return await self._sign(payload, REFRESH_TYP)

    def decode_access(
        self, token: Secret, now: datetime, *, audiences: frozenset[str]
    ) -> AccessClaims:
        """Return the claims of a valid access token for one of these audiences.

        Raises:
            WrongAudience: the token is valid and for another audience.
            InvalidAccessToken: for every other text, never saying why.
        """
        return self._reader.decode_access(token, now, audiences=audiences)

    def decode_refresh(self, token: Secret) -> RefreshClaims:
        """Return the claims of a genuine refresh token, expired or not.

        Raises:
            InvalidRefreshToken: for every other text, never saying why.
        """
        try:
            return self._refresh_claims(token)
        except RejectedToken:
            pass
        # Raised out here, the error has no context that could hold a part of the token.
        raise InvalidRefreshToken

    async def encode_device(self, claims: DeviceClaims) -> Secret:
        """Return a signed device token.

        Raises:
            Unavailable: the key can't be reached.
        """
        payload: dict[str, object] = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": str(claims.user_id),
            "iat": _seconds(claims.issued_at),
            "exp": _seconds(claims.expires_at),
            "sid": str(claims.family_id),
            "credentials_version": claims.credentials_version,
            "type": _DEVICE_TYPE,
        }
        return await self._sign(payload, DEVICE_TYP)

    def decode_device(self, token: Secret, now: datetime) -> DeviceClaims | None:
        """Return the claims of a valid device token, None for every other text."""
        try:
            claims = self._device_claims(token)
        except RejectedToken:
            return None
        is_current = claims.issued_at - MAX_CLOCK_SKEW <= now < claims.expires_at
        return claims if is_current else None

    async def _sign(self, payload: Claims, typ: str) -> Secret:
        token = await sign(to_json(payload), typ, self._keys.signer)
        if len(token) > MAX_TOKEN_LENGTH:
            raise ValueError(
                f"the claims make a token of {len(token)} characters and {MAX_TOKEN_LENGTH} are"
                " the limit: put fewer roles and permissions into it"
            )
        return Secret(token)

    def _refresh_claims(self, token: Secret) -> RefreshClaims:
        _, claims = signed_claims(token.reveal(), self._keys, typ=REFRESH_TYP, issuer=self._issuer)
        expect(claims, "type", _REFRESH_TYPE)
        expect(claims, "aud", self._issuer)
        return RefreshClaims(
            token_id=TokenId(uuid(claims, "jti")),
            user_id=UserId(uuid(claims, "sub")),
            family_id=FamilyId(uuid(claims, "sid")),
            issued_at=moment(claims, "iat"),
            expires_at=moment(claims, "exp"),
        )

    def _device_claims(self, token: Secret) -> DeviceClaims:
        _, claims = signed_claims(token.reveal(), self._keys, typ=DEVICE_TYP, issuer=self._issuer)
        expect(claims, "type", _DEVICE_TYPE)
        expect(claims, "aud", self._issuer)
        return DeviceClaims(
            user_id=UserId(uuid(claims, "sub")),
            family_id=FamilyId(uuid(claims, "sid")),
            credentials_version=whole_number(claims, "credentials_version"),
            issued_at=moment(claims, "iat"),
            expires_at=moment(claims, "exp"),
        )


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _joined(scope: frozenset[str]) -> str:
    # One value with a blank in it would come back as two.
    if any(not value or " " in value for value in scope):
        raise ValueError("a scope value is empty or holds a blank")
    return " ".join(sorted(scope))
