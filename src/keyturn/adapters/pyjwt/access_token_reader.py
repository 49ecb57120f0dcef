"""Access tokens back into claims, as strict as RFC 8725 asks for, with no key that could sign."""

from datetime import datetime

from keyturn.adapters.pyjwt.compact_jws import MAX_TOKEN_LENGTH, RejectedToken
from keyturn.adapters.pyjwt.key_ring import TokenKeys
from keyturn.adapters.pyjwt.signed_claims import (
    Claims,
    expect,
    is_list_of_texts,
    moment,
    names,
    signed_claims,
    text,
    uuid,
    whole_number,
)
from keyturn.adapters.pyjwt.verified_tokens import VerifiedToken, VerifiedTokens, digest_of
from keyturn.domain.claims import LONG_AGO, AccessClaims
from keyturn.domain.errors import InvalidAccessToken, WrongAudience
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.policies import MAX_CLOCK_SKEW
from keyturn.domain.secret import Secret
from keyturn.ports.tokens import AccessTokenReader

ACCESS_TYP = "at+jwt"
"""The header `typ` of an access token (RFC 9068 §2.1)."""

ACCESS_TYPE = "access"
"""The claim `type` of an access token."""


class PyJwtAccessTokenReader(AccessTokenReader):
    """Accepts the access tokens of one issuer, signed by any key of the holder.

    A token that was good is remembered: the next time only its key and the clock are asked, which
    costs no signature. One that was not good is looked at anew each time.
    """

    def __init__(
        self,
        keys: TokenKeys,
        *,
        issuer: str,
        remembered: VerifiedTokens | None = None,
    ) -> None:
        """Read what `issuer` signs.

        Args:
            keys: asked for the key of each token; each is used with its own algorithm only.
            issuer: the `iss`.
            remembered: the memory, of this reader alone.

        Raises:
            ValueError: the issuer is empty.
        """
        if not issuer:
            raise ValueError("access tokens are read for an issuer")
        self._keys = keys
        self._remembered = VerifiedTokens() if remembered is None else remembered
        self._issuer = issuer

    def decode_access(
        self, token: Secret, now: datetime, *, audiences: frozenset[str]
    ) -> AccessClaims:
        """Return the claims of a valid access token for one of these audiences.

        Raises:
            WrongAudience: the token is valid and for another audience.
            InvalidAccessToken: for every other text, never saying why.
        """
        try:
            claims = self._current_claims(token.reveal(), now)
        except RejectedToken:
            pass
        else:
            if claims.audience in audiences:
                return claims
            raise WrongAudience
        # Raised out here, the error has no context that could hold a part of the token.
        raise InvalidAccessToken

    def _current_claims(self, token: str, now: datetime) -> AccessClaims:
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            raise RejectedToken
        digest = digest_of(token)
        known = self._remembered.find(digest)
        if known is not None:
            # The key is asked for as if nothing were known: a retired one is not there, and keys
            # that are too old to be trusted say so. Another key of that name is another key.
            if self._keys.find(known.key.kid) is known.key:
                _require_current(known, now)
                return known.claims
            self._remembered.forget(digest)
        verified = self._verified(token)
        _require_current(verified, now)
        self._remembered.remember(digest, verified)
        return verified.claims

    def _verified(self, token: str) -> VerifiedToken:
        key, claims = signed_claims(token, self._keys, typ=ACCESS_TYP, issuer=self._issuer)
        expect(claims, "type", ACCESS_TYPE)
        issued_at = moment(claims, "iat")
        auth_time = moment(claims, "auth_time") if "auth_time" in claims else LONG_AGO
        if auth_time > issued_at:
            raise RejectedToken
        scope = text(claims, "scope") if "scope" in claims else None
        not_before = moment(claims, "nbf") if "nbf" in claims else None
        read = AccessClaims(
            token_id=TokenId(uuid(claims, "jti")),
            user_id=UserId(uuid(claims, "sub")),
            family_id=FamilyId(uuid(claims, "sid")),
            client_id=text(claims, "client_id"),
            audience=_audience(claims),
            epoch=whole_number(claims, "epoch"),
            roles=names(claims, "roles"),
            permissions=names(claims, "permissions") if "permissions" in claims else None,
            scope=None if scope is None else frozenset(scope.split(" ") if scope else ()),
            auth_time=auth_time,
            issued_at=issued_at,
            expires_at=moment(claims, "exp"),
            key_thumbprint=_key_thumbprint(claims) if "cnf" in claims else None,
        )
        return VerifiedToken(key, read, not_before)


def _audience(claims: Claims) -> str:
    # RFC 7519 §4.1.3: a text, or a list. A token for several audiences would let each of them act
    # at the others, so a list names exactly one.
    audience = claims.get("aud")
    if is_list_of_texts(audience) and len(audience) == 1:
        return text({"aud": audience[0]}, "aud")
    return text(claims, "aud")


def _require_current(token: VerifiedToken, now: datetime) -> None:
    # The clock of the issuer may be ahead: `iat` and `nbf` have the same small leeway (RFC 7519
    # §4.1.5). `exp` has none: no token lives longer than it says.
    latest = now + MAX_CLOCK_SKEW
    if token.claims.issued_at > latest or now >= token.claims.expires_at:
        raise RejectedToken
    if token.not_before is not None and token.not_before > latest:
        raise RejectedToken


def _key_thumbprint(claims: Claims) -> str:
    # A confirmation of a kind unknown here must not make a bound token one for any bearer.
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or confirmation.keys() != {"jkt"}:
        raise RejectedToken
    return text(confirmation, "jkt")
