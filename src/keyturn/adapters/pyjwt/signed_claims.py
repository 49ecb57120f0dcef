"""The claims that a known key signed, each read as the one type that it must have (RFC 8725 §3.11).

Every function here raises `RejectedToken`, which says nothing of the text itself.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeGuard
from uuid import UUID

from keyturn.adapters.pyjwt.compact_jws import RejectedToken, read_json_object, verify
from keyturn.adapters.pyjwt.key_ring import TokenKeys, VerificationKey

# What every JSON reader holds exactly (RFC 8259 §6).
_LARGEST_NUMBER = 2**53 - 1
_LATEST_SECOND = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())

Claims = Mapping[str, object]


def signed_claims(
    token: str, keys: TokenKeys, *, typ: str, issuer: str
) -> tuple[VerificationKey, Claims]:
    """Return what a token of this kind and issuer says, and the key that signed it."""
    signed = verify(token, keys.find)
    # RFC 7515 §4.1.9: a media type, so without regard to case and perhaps in full.
    if signed.typ is None or signed.typ.lower().removeprefix("application/") != typ:
        raise RejectedToken
    claims = read_json_object(signed.payload)
    expect(claims, "iss", issuer)
    return signed.key, claims


def expect(claims: Claims, name: str, value: str) -> None:
    """Return if the claim is this text."""
    if claims.get(name) != value:
        raise RejectedToken


def moment(claims: Claims, name: str) -> datetime:
    """Return a moment that is told in whole seconds, aware UTC."""
    seconds = whole_number(claims, name)
    if seconds > _LATEST_SECOND:
        raise RejectedToken
    return datetime.fromtimestamp(seconds, UTC)


def whole_number(claims: Claims, name: str) -> int:
    """Return a number that every JSON reader holds exactly, not below 0."""
    value = claims.get(name)
    # In Python, True is an int.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_NUMBER:
        raise RejectedToken
    return value


def text(claims: Claims, name: str) -> str:
    """Return a text that UTF-8 can spell."""
    value = claims.get(name)
    if not isinstance(value, str) or not _is_encodable(value):
        raise RejectedToken
    return value


def names(claims: Claims, name: str) -> frozenset[str]:
    """Return a list of texts as a set."""
    value = claims.get(name)
    if not is_list_of_texts(value) or not all(map(_is_encodable, value)):
        raise RejectedToken
    return frozenset(value)


def uuid(claims: Claims, name: str) -> UUID:
    """Return a UUID in its one canonical spelling."""
    spelling = text(claims, name)
    try:
        value = UUID(spelling)
    except ValueError:
        raise RejectedToken from None
    # `UUID` also reads braces, capitals and a URN: one id, one text.
    if str(value) != spelling:
        raise RejectedToken
    return value


def is_list_of_texts(value: object) -> TypeGuard[list[str]]:
    """Whether the value is a JSON array of nothing but strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_encodable(text: str) -> bool:
    """Whether the text is free of lone surrogates, which JSON can spell and UTF-8 can't."""
    return text.isascii() or not any(0xD800 <= ord(character) <= 0xDFFF for character in text)
