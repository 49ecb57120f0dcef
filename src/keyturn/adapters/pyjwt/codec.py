"""Claims as signed JWTs (RFC 7519, RFC 9068) and back, as strict as RFC 8725 asks for."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeGuard
from uuid import UUID

from keyturn.adapters.pyjwt.compact_jws import (
    MAX_TOKEN_LENGTH,
    RejectedToken,
    read_json_object,
    sign,
    verify,
)
from keyturn.adapters.pyjwt.key_ring import KeyRing
from keyturn.domain.claims import AccessClaims, RefreshClaims
from keyturn.domain.errors import InvalidAccessToken, InvalidRefreshToken
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.policies import MAX_CLOCK_SKEW
from keyturn.domain.secret import Secret
from keyturn.ports.tokens import TokenCodec

ACCESS_TYP = "at+jwt"
REFRESH_TYP = "rt+jwt"

_ACCESS_TYPE = "access"
_REFRESH_TYPE = "refresh"
# What every JSON reader holds exactly (RFC 8259 §6).
_LARGEST_NUMBER = 2**53 - 1
_LATEST_SECOND = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())

Claims = Mapping[str, object]


class PyJwtCodec(TokenCodec):
    """Signs with the ring's signing key and accepts what any key of the ring has signed."""

    def __init__(self, key_ring: KeyRing, *, issuer: str, audience: str) -> None:
        """Speak as `issuer`, to `audience`.

        Args:
            key_ring: the keys; each is used with its own algorithm only.
            issuer: the `iss` of both kinds, and the `aud` of refresh tokens.
            audience: the `aud` of access tokens.

        Raises:
            ValueError: issuer or audience is empty.
        """
        if not issuer or not audience:
            raise ValueError("a token codec needs an issuer and an audience")
        self._key_ring = key_ring
        self._issuer = issuer
        self._audience = audience

    async def encode_access(self, claims: AccessClaims) -> Secret:
        """Return a signed access token (RFC 9068 §2).

        Raises:
            ValueError: so many roles and permissions that no server would take the token, or a
                scope value that RFC 6749 §3.3 does not allow.
        """
        payload: dict[str, object] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(claims.user_id),
            "iat": _seconds(claims.issued_at),
            "exp": _seconds(claims.expires_at),
            "jti": str(claims.token_id),
            "sid": str(claims.family_id),
            "epoch": claims.epoch,
            "client_id": claims.client_id,
            "type": _ACCESS_TYPE,
            "roles": sorted(claims.roles),
        }
        if claims.permissions is not None:
            payload["permissions"] = sorted(claims.permissions)
        if claims.scope is not None:
            payload["scope"] = _joined(claims.scope)
        return self._sign(payload, ACCESS_TYP)

    async def encode_refresh(self, claims: RefreshClaims) -> Secret:
        """Return a signed refresh token, the same for the same claims and signing key."""
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
        return self._sign(payload, REFRESH_TYP)

    def decode_access(self, token: Secret, now: datetime) -> AccessClaims:
        """Return the claims of a valid access token.

        Raises:
            InvalidAccessToken: for every other text, never saying why.
        """
        try:
            return self._access_claims(token, now)
        except RejectedToken:
            pass
        # Raised out here, the error has no context that could hold a part of the token.
        raise InvalidAccessToken

    def decode_refresh(self, token: Secret) -> RefreshClaims:
        """Return the claims of a genuine refresh token, expired or not.

        Raises:
            InvalidRefreshToken: for every other text, never saying why.
        """
        try:
            return self._refresh_claims(token)
        except RejectedToken:
            pass
        raise InvalidRefreshToken

    def _sign(self, payload: Claims, typ: str) -> Secret:
        text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
        token = sign(text.encode(), typ, self._key_ring.signing_key)
        if len(token) > MAX_TOKEN_LENGTH:
            raise ValueError(
                f"the claims make a token of {len(token)} characters and {MAX_TOKEN_LENGTH} are"
                " the limit: put fewer roles and permissions into it"
            )
        return Secret(token)

    def _access_claims(self, token: Secret, now: datetime) -> AccessClaims:
        claims = self._signed_claims(token, ACCESS_TYP)
        _expect(claims, "type", _ACCESS_TYPE)
        audience = claims.get("aud")
        # RFC 9068 §2.2 and RFC 7519 §4.1.3: one audience, or a list that names ours.
        if audience != self._audience and not (
            _is_list_of_texts(audience) and self._audience in audience
        ):
            raise RejectedToken
        issued_at, expires_at = _moment(claims, "iat"), _moment(claims, "exp")
        # Another worker's clock may be ahead, but no token lives longer than it says.
        if issued_at > now + MAX_CLOCK_SKEW or now >= expires_at:
            raise RejectedToken
        scope = _text(claims, "scope") if "scope" in claims else None
        return AccessClaims(
            token_id=TokenId(_uuid(claims, "jti")),
            user_id=UserId(_uuid(claims, "sub")),
            family_id=FamilyId(_uuid(claims, "sid")),
            client_id=_text(claims, "client_id"),
            epoch=_whole_number(claims, "epoch"),
            roles=_names(claims, "roles"),
            permissions=_names(claims, "permissions") if "permissions" in claims else None,
            scope=None if scope is None else frozenset(scope.split(" ") if scope else ()),
            issued_at=issued_at,
            expires_at=expires_at,
        )

    def _refresh_claims(self, token: Secret) -> RefreshClaims:
        claims = self._signed_claims(token, REFRESH_TYP)
        _expect(claims, "type", _REFRESH_TYPE)
        _expect(claims, "aud", self._issuer)
        return RefreshClaims(
            token_id=TokenId(_uuid(claims, "jti")),
            user_id=UserId(_uuid(claims, "sub")),
            family_id=FamilyId(_uuid(claims, "sid")),
            issued_at=_moment(claims, "iat"),
            expires_at=_moment(claims, "exp"),
        )

    def _signed_claims(self, token: Secret, typ: str) -> Claims:
        signed = verify(token.reveal(), self._key_ring.by_kid)
        # RFC 7515 §4.1.9: a media type, so without regard to case and perhaps in full.
        if signed.typ is None or signed.typ.lower().removeprefix("application/") != typ:
            raise RejectedToken
        claims = read_json_object(signed.payload)
        _expect(claims, "iss", self._issuer)
        return claims


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _joined(scope: frozenset[str]) -> str:
    # One value with a blank in it would come back as two.
    if any(not value or " " in value for value in scope):
        raise ValueError("a scope value is empty or holds a blank")
    return " ".join(sorted(scope))


def _expect(claims: Claims, name: str, value: str) -> None:
    if claims.get(name) != value:
        raise RejectedToken


def _moment(claims: Claims, name: str) -> datetime:
    seconds = _whole_number(claims, name)
    if seconds > _LATEST_SECOND:
        raise RejectedToken
    return datetime.fromtimestamp(seconds, UTC)


def _whole_number(claims: Claims, name: str) -> int:
    value = claims.get(name)
    # In Python, True is an int.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_NUMBER:
        raise RejectedToken
    return value


def _text(claims: Claims, name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not _is_encodable(value):
        raise RejectedToken
    return value


def _names(claims: Claims, name: str) -> frozenset[str]:
    value = claims.get(name)
    if not _is_list_of_texts(value) or not all(map(_is_encodable, value)):
        raise RejectedToken
    return frozenset(value)


def _uuid(claims: Claims, name: str) -> UUID:
    text = _text(claims, name)
    try:
        value = UUID(text)
    except ValueError:
        raise RejectedToken from None
    # `UUID` also reads braces, capitals and a URN: one id, one text.
    if str(value) != text:
        raise RejectedToken
    return value


def _is_list_of_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_encodable(text: str) -> bool:
    """Whether the text is free of lone surrogates, which JSON can spell and UTF-8 can't."""
    return text.isascii() or not any(0xD800 <= ord(character) <= 0xDFFF for character in text)
