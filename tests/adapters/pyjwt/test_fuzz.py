"""Whatever is presented, decoding gives claims or the one error of its kind."""

import asyncio
import base64
import json
import math
from contextlib import suppress
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.adapters.pyjwt.codec import PyJwtCodec
from keyturn.adapters.pyjwt.key_ring import Key, KeyRing
from keyturn.domain.claims import AccessClaims
from keyturn.domain.errors import InvalidAccessToken, InvalidRefreshToken
from keyturn.domain.secret import Secret
from keyturn.testing.codec_contract import ACCESS, AUDIENCES, ISSUED_AT, REFRESH

KEYS = [
    Key(bytes((7 * n * n + 3 * n) % 256 for n in range(48))),
    Key.from_jwk(
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }
    ),
]
CODEC = PyJwtCodec(KeyRing(KEYS, KEYS[0].kid), issuer="https://auth.example")
GOOD = asyncio.run(CODEC.encode_access(ACCESS)).reveal()

bounded = settings(derandomize=True, deadline=None, database=None, max_examples=150)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["access", "api", "https://auth.example", str(ACCESS.user_id), 1893499200])
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
claim_names = st.sampled_from(
    [
        "iss",
        "aud",
        "sub",
        "iat",
        "exp",
        "jti",
        "sid",
        "epoch",
        "client_id",
        "type",
        "roles",
        "permissions",
        "scope",
    ]
)


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: object, payload: bytes) -> str:
    signing_input = f"{encoded(json.dumps(header).encode())}.{encoded(payload)}"
    return f"{signing_input}.{encoded(KEYS[0].sign(signing_input.encode()))}"


def present(text: str) -> AccessClaims | None:
    """Present the text as both kinds of token; any error but the right one gets through."""
    with suppress(InvalidRefreshToken):
        CODEC.decode_refresh(Secret(text))
    with suppress(InvalidAccessToken):
        return CODEC.decode_access(Secret(text), ISSUED_AT, audiences=AUDIENCES)
    return None


@bounded
@given(st.text(st.characters()))
def test_any_text(text: str) -> None:
    assert present(text) is None


@bounded
@given(st.text('AZaz09-_.=+/{}":[]\x00\n é\ud800', max_size=400))
def test_any_text_of_a_tokens_characters(text: str) -> None:
    assert present(text) is None


@bounded
@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=80))
def test_any_three_segments(header: bytes, payload: bytes, signature: bytes) -> None:
    assert present(f"{encoded(header)}.{encoded(payload)}.{encoded(signature)}") is None


@bounded
@given(json_values)
def test_any_json_as_a_header(header: object) -> None:
    assert present(signed(header, b"{}")) is None


@bounded
@given(
    st.sampled_from([key.algorithm.value for key in KEYS]) | json_values,
    st.sampled_from([key.kid for key in KEYS]) | json_values,
    st.sampled_from(["at+jwt", "rt+jwt"]) | json_values,
)
def test_any_value_of_a_header_parameter(alg: object, kid: object, typ: object) -> None:
    accepted = present(signed({"alg": alg, "kid": kid, "typ": typ}, b'{"type": "access"}'))
    assert accepted is None


@bounded
@given(st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_payload_under_a_good_signature(payload: bytes) -> None:
    for typ in ("at+jwt", "rt+jwt"):
        header = {"alg": KEYS[0].algorithm.value, "kid": KEYS[0].kid, "typ": typ}
        assert present(signed(header, payload)) is None


@bounded
@given(claim_names, json_values)
def test_any_value_of_a_claim_under_a_good_signature(name: str, value: object) -> None:
    segment = GOOD.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    header = {"alg": KEYS[0].algorithm.value, "kid": KEYS[0].kid, "typ": "at+jwt"}
    accepted = present(signed(header, json.dumps({**claims, name: value}).encode()))
    if isinstance(value, float) and not math.isfinite(value):
        assert accepted is None
    if accepted is not None:
        # What came through can be handed on: to a header, a database or a log.
        texts = {accepted.client_id, *accepted.roles, *(accepted.permissions or ())}
        assert all(text.encode() is not None for text in texts)
        assert accepted.expires_at > ISSUED_AT
        assert accepted.issued_at <= ISSUED_AT + timedelta(minutes=1)


@bounded
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 0x10FFFF), st.integers(0, 2))
def test_a_good_token_with_one_character_exchanged_added_or_taken(
    position: int, code: int, length: int
) -> None:
    changed = GOOD[:position] + chr(code) * (length > 0) + GOOD[position + (length != 1) :]
    assert (present(changed) is not None) is (changed == GOOD)


def test_the_token_that_these_tests_start_from_is_good() -> None:
    assert present(GOOD) == ACCESS
    refresh = asyncio.run(CODEC.encode_refresh(REFRESH)).reveal()
    assert present(refresh) is None
    assert CODEC.decode_refresh(Secret(refresh)) == REFRESH
