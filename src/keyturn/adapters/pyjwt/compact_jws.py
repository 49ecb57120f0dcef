"""The compact form of a signed token, read as strictly as it is written (RFC 7515 §3.1, RFC 8725).

PyJWT's own reader takes padded segments, repeated member names and any header, and prepares the
key anew for each token. This one takes exactly what `sign` writes and uses PyJWT for the
signatures themselves.
"""

import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, Never, TypeGuard

from keyturn.adapters.pyjwt.key_ring import VerificationKey
from keyturn.ports.tokens import TokenSigner

MAX_TOKEN_LENGTH = 8192
"""Characters; about what servers and proxies take as a header line."""

_OUR_HEADER = frozenset({"alg", "kid", "typ"})


class RejectedToken(Exception):
    """The text is not a token that one of the keys signed; holds nothing of the text itself."""


@dataclass(frozen=True, slots=True)
class SignedPayload:
    """What a token says, its signature verified.

    Attributes:
        key: the one that signed it.
        typ: the header parameter `typ`, None where it is missing.
    """

    key: VerificationKey
    typ: str | None
    payload: bytes


class CompactParts(NamedTuple):
    """The parts of a compact JWS; not to be believed before the signature is verified."""

    header: Mapping[str, object]
    signing_input: bytes
    signature: bytes

    def payload(self) -> bytes:
        """Return the payload, decoded."""
        return _decode(self.signing_input.partition(b".")[2].decode())


async def sign(payload: bytes, typ: str, signer: TokenSigner) -> str:
    """Return the compact JWS of `payload`.

    Raises:
        Unavailable: the key can't be reached.
    """
    signing_input = f"{_header_segment(signer.algorithm, signer.kid, typ)}.{_encode(payload)}"
    return f"{signing_input}.{_encode(await signer.sign(signing_input.encode()))}"


def verify(token: str, find_key: Callable[[str], VerificationKey | None]) -> SignedPayload:
    """Return what the token says if the key that `find_key` has for its `kid` signed it.

    The header may hold `alg`, `kid` and `typ` and nothing else: whoever offers a key (`jwk`,
    `jku`, `x5c`, `x5u`), an extension (`crit`, `b64`) or compression (`zip`) is no issuer of ours.

    Raises:
        RejectedToken: for everything else, whatever it is.
    """
    parts = split(token)
    header = parts.header
    if not header.keys() <= _OUR_HEADER:
        raise RejectedToken
    kid, typ = header.get("kid"), header.get("typ")
    key = find_key(kid) if isinstance(kid, str) else None
    if key is None or header.get("alg") != key.algorithm.value:
        raise RejectedToken
    if not (typ is None or isinstance(typ, str)):
        raise RejectedToken
    if not key.verifies(parts.signing_input, parts.signature):
        raise RejectedToken
    return SignedPayload(key, typ, parts.payload())


def split(token: str) -> CompactParts:
    """Return the parts of a compact JWS, of which nothing has been verified.

    Raises:
        RejectedToken: it is too long or none.
    """
    if len(token) > MAX_TOKEN_LENGTH or not token.isascii() or token.count(".") != 2:
        raise RejectedToken
    signing_input, _, signature = token.rpartition(".")
    header = _read_header(signing_input.partition(".")[0])
    return CompactParts(header, signing_input.encode(), _decode(signature))


def read_json_object(text: bytes) -> dict[str, object]:
    """Return the members of a JSON object.

    Raises:
        RejectedToken: it is no UTF-8, no JSON (`NaN` is none), no object, or a member name
            stands twice, at whatever depth (RFC 8725 §2.6 explains the harm).
    """
    try:
        value: object = _STRICT_JSON.decode(text.decode())
    except (ValueError, RecursionError):
        raise RejectedToken from None
    if not _is_object(value):
        raise RejectedToken
    return value


@lru_cache(maxsize=64)
def _header_segment(algorithm: str, kid: str, typ: str) -> str:
    header = {"alg": algorithm, "kid": kid, "typ": typ}
    return _encode(json.dumps(header, separators=(",", ":")).encode())


# The tokens of one kind and key have one header, which need not be read for each of them.
@lru_cache(maxsize=64)
def _read_header(segment: str) -> Mapping[str, object]:
    return MappingProxyType(read_json_object(_decode(segment)))


# What `base64` does for its alphabet of URLs, by one call instead of several.
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


def _encode(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def _decode(segment: str) -> bytes:
    padded = segment.encode() + b"=" * (-len(segment) % 4)
    try:
        data = binascii.a2b_base64(padded.translate(_FROM_URL))
    except binascii.Error:
        raise RejectedToken from None
    # One text for one value: no padding, no blanks, no stray bits in the last character.
    if _encode(data) != segment:
        raise RejectedToken
    return data


def _distinct_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise RejectedToken
    return members


def _refuse_constant(_: str) -> Never:
    raise RejectedToken


_STRICT_JSON = json.JSONDecoder(
    object_pairs_hook=_distinct_members, parse_constant=_refuse_constant
)


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)
