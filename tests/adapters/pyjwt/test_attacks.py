"""What an attacker presents, and that none of it is accepted.

Unless a test says otherwise, the token is signed with the real key: it is refused for what it
says, not because its signature fails.
"""

import base64
import json
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms
from tests.adapters.pyjwt.conftest import Forger

from keyturn.adapters.pyjwt.codec import PyJwtCodec
from keyturn.adapters.pyjwt.compact_jws import MAX_TOKEN_LENGTH
from keyturn.adapters.pyjwt.key_ring import Key, SigningAlgorithm
from keyturn.domain.claims import LONG_AGO
from keyturn.domain.errors import InvalidAccessToken, InvalidRefreshToken, WrongAudience
from keyturn.domain.secret import Secret
from keyturn.testing.codec_contract import ACCESS, AUDIENCES, ISSUED_AT

KeyOf = Callable[..., Key]
CodecOf = Callable[..., PyJwtCodec]

BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

only_rs256 = pytest.mark.parametrize("forger", [SigningAlgorithm.RS256], indirect=True)
only_es256 = pytest.mark.parametrize("forger", [SigningAlgorithm.ES256], indirect=True)
only_eddsa = pytest.mark.parametrize("forger", [SigningAlgorithm.EDDSA], indirect=True)
only_hs256 = pytest.mark.parametrize("forger", [SigningAlgorithm.HS256], indirect=True)
all_with_a_public_key = pytest.mark.parametrize(
    "forger",
    [SigningAlgorithm.RS256, SigningAlgorithm.ES256, SigningAlgorithm.EDDSA],
    indirect=True,
)


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_the_forgers_own_token_is_accepted_so_that_the_rest_proves_something(
    forger: Forger,
) -> None:
    assert forger.accepted(forger.token()) == ACCESS


# --- the algorithm -------------------------------------------------------------------------------


@pytest.mark.parametrize("signature", [b"", None], ids=["unsigned", "signed"])
@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "none ", "", None, 0, [], ["none"]]
)
def test_alg_none_in_every_spelling(forger: Forger, alg: object, signature: bytes | None) -> None:
    forger.refused(forger.token({**forger.header, "alg": alg}, signature=signature))


def test_a_missing_alg(forger: Forger) -> None:
    header = {name: value for name, value in forger.header.items() if name != "alg"}
    forger.refused(forger.token(header))


@pytest.mark.parametrize("alg", [*sorted(get_default_algorithms()), "Ed25519", "HS1", "RS1"])
def test_another_algorithm_than_the_keys_own(forger: Forger, alg: str) -> None:
    token = forger.token({**forger.header, "alg": alg})
    if alg == forger.key.algorithm:
        forger.accepted(token)
    else:
        forger.refused(token)


def test_the_right_algorithm_in_other_letters(forger: Forger) -> None:
    alg = forger.key.algorithm.value
    for other in (alg.lower() if alg != alg.lower() else alg.upper(), f"{alg} ", f" {alg}"):
        forger.refused(forger.token({**forger.header, "alg": other}))


def public_forms(key: Key) -> dict[str, bytes]:
    public = key._public
    assert not isinstance(public, bytes)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forms = {
        "PEM": pem,
        "PEM without its last newline": pem.rstrip(),
        "PEM with other newlines": pem.replace(b"\n", b"\r\n"),
        "PEM in one line": pem.replace(b"\n", b""),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "the kid": key.kid.encode(),
        "nothing": b"",
    }
    if isinstance(public, rsa.RSAPublicKey):
        forms["PKCS 1 PEM"] = public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
        forms["the modulus"] = public.public_numbers().n.to_bytes(256)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        forms["the point"] = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    else:
        forms["the raw key"] = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    jwk = {
        name: value
        for name, value in key.to_jwk().items()
        if name in {"kty", "n", "e", "crv", "x", "y"}
    }
    forms["JWK"] = json.dumps(jwk).encode()
    return forms


@all_with_a_public_key
@pytest.mark.parametrize("alg", ["HS256", "own"])
def test_the_public_key_as_an_hmac_secret(forger: Forger, alg: str) -> None:
    header = forger.header if alg == "own" else {**forger.header, "alg": alg}
    for form in public_forms(forger.key).values():
        forger.refused(forger.token(header, secret=form))


@all_with_a_public_key
def test_the_public_key_as_an_hmac_secret_in_a_ring_that_also_verifies_hmac(
    forger: Forger, key_of: KeyOf, codec_of: CodecOf
) -> None:
    hmac_key = key_of(SigningAlgorithm.HS256)
    codec = codec_of(forger.key, hmac_key)
    for kid in (forger.key.kid, hmac_key.kid):
        for form in public_forms(forger.key).values():
            token = forger.token({**forger.header, "alg": "HS256", "kid": kid}, secret=form)
            with pytest.raises(InvalidAccessToken):
                codec.decode_access(Secret(token), ISSUED_AT, audiences=AUDIENCES)


def test_keys_swapped_inside_one_ring(key_of: KeyOf, codec_of: CodecOf, forger: Forger) -> None:
    keys = [key_of(algorithm) for algorithm in SigningAlgorithm]
    codec = codec_of(*keys)
    for named in keys:
        for alg in SigningAlgorithm:
            header = {**forger.header, "kid": named.kid, "alg": alg.value}
            token = Secret(forger.token(header))
            if named is forger.key and alg is forger.key.algorithm:
                assert codec.decode_access(token, ISSUED_AT, audiences=AUDIENCES) == ACCESS
                continue
            with pytest.raises(InvalidAccessToken):
                codec.decode_access(token, ISSUED_AT, audiences=AUDIENCES)


# --- which key -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kid",
    [
        "",
        " ",
        "unknown",
        "../../../../../../dev/null",
        "/dev/null",
        "../keys/key.jwk",
        "keys.json",
        "file:///etc/passwd",
        "' OR '1'='1",
        "x' UNION SELECT 'secret' --",
        "| curl evil.example |",
        "\x00",
        "\ud800",
        "__class__",
        None,
        0,
        1,
        True,
        1.5,
        [],
        {},
    ],
    ids=repr,
)
def test_a_kid_that_names_no_key(forger: Forger, kid: object) -> None:
    forger.refused(forger.token({**forger.header, "kid": kid}))
    forger.refused(forger.token({**forger.header, "kid": kid}, secret=b""))


def test_a_kid_that_almost_names_a_key(forger: Forger) -> None:
    kid = forger.key.kid
    for almost in (
        kid.swapcase(),
        f"{kid}\x00",
        f" {kid}",
        f"{kid}=",
        kid[:-1],
        [kid],
        {"kid": kid},
    ):
        forger.refused(forger.token({**forger.header, "kid": almost}))


def test_a_missing_kid(forger: Forger) -> None:
    header = {name: value for name, value in forger.header.items() if name != "kid"}
    forger.refused(forger.token(header))


def test_a_strangers_signature_under_our_kid(forger: Forger, key_of: KeyOf) -> None:
    stranger = key_of(forger.key.algorithm, 1)
    signing_input = forger.token().rpartition(".")[0]
    forger.refused(forger.token(signature=stranger.sign(signing_input.encode())))


def test_a_stranger_who_brings_the_own_key_along(forger: Forger, key_of: KeyOf) -> None:
    stranger = key_of(forger.key.algorithm, 1)
    public = {
        name: value
        for name, value in stranger.to_jwk().items()
        if name not in {"d", "p", "q", "dp", "dq", "qi"}
    }
    for kid in (forger.key.kid, stranger.kid):
        header = {**forger.header, "kid": kid, "jwk": public}
        signing_input = forger.token(header).rpartition(".")[0]
        forger.refused(forger.token(header, signature=stranger.sign(signing_input.encode())))


# --- what else a header may ask for --------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        {"jku": "https://evil.example/jwks.json"},
        {"jwk": {"kty": "oct", "k": ""}},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["MIIB"]},
        {"x5t": "AAAA"},
        {"x5t#S256": "AAAA"},
        {"crit": ["exp"], "exp": 0},
        {"crit": ["b64"], "b64": True},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"crit": None},
        {"crit": "exp"},
        {"crit": ["http://evil.example/extension"]},
        {"b64": True},
        {"b64": False},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"enc": "A256GCM"},
        {"epk": {}},
        {"p2c": 2_000_000_000},
        {"iss": "https://auth.example.com"},
    ],
    ids=json.dumps,
)
def test_a_header_that_asks_for_more(forger: Forger, extra: dict[str, object]) -> None:
    forger.refused(forger.token({**forger.header, **extra}))


def test_a_payload_that_is_not_encoded(forger: Forger) -> None:
    header = encoded(json.dumps({**forger.header, "b64": False, "crit": ["b64"]}).encode())
    payload = json.dumps(forger.claims)
    signature = encoded(forger.key.sign(f"{header}.{payload}".encode()))
    forger.refused(f"{header}.{payload}.{signature}")


def test_a_detached_payload(forger: Forger) -> None:
    header, payload, signature = forger.token().split(".")
    forger.refused(f"{header}..{signature}")
    empty = encoded(forger.key.sign(f"{header}.".encode()))
    forger.refused(f"{header}..{empty}")
    assert payload


def test_a_compressed_payload(forger: Forger) -> None:
    deflated = zlib.compress(json.dumps(forger.claims).encode(), wbits=-15)
    forger.refused(forger.token(claims=deflated))
    forger.refused(forger.token({**forger.header, "zip": "DEF"}, deflated))


@pytest.mark.parametrize(
    "typ",
    [
        "JWT",
        "jwt",
        "rt+jwt",
        "application/rt+jwt",
        "at+jwt ",
        " at+jwt",
        "at+jwt; charset=utf-8",
        "at",
        "+jwt",
        "",
        "application/",
        "application/application/at+jwt",
        "text/at+jwt",
        "at＋jwt",
        None,
        1,
        True,
        ["at+jwt"],
        {"at+jwt": 1},
    ],
    ids=repr,
)
def test_another_typ(forger: Forger, typ: object) -> None:
    forger.refused(forger.token({**forger.header, "typ": typ}))


def test_a_missing_typ(forger: Forger) -> None:
    header = {name: value for name, value in forger.header.items() if name != "typ"}
    forger.refused(forger.token(header))


@pytest.mark.parametrize("typ", ["AT+JWT", "at+JWT", "application/at+jwt", "Application/AT+jwt"])
def test_a_media_type_may_be_spelt_as_rfc_9068_and_7515_allow(forger: Forger, typ: str) -> None:
    assert forger.accepted(forger.token({**forger.header, "typ": typ})) == ACCESS


# What a token says is judged after the signature, and alike for all: one algorithm is enough.

# --- claims --------------------------------------------------------------------------------------

REQUIRED = [
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
]


@only_es256
@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_claim(forger: Forger, name: str) -> None:
    claims = {key: value for key, value in forger.claims.items() if key != name}
    forger.refused(forger.token(claims=claims))


ANYTHING_BUT_TEXT: list[object] = [None, True, 0, 1.5, [], {}, ["access"]]
ANYTHING_BUT_A_NUMBER: list[object] = [
    None,
    True,
    False,
    "",
    "1893499200",
    1893499200.0,
    [],
    {},
    [1893499200],
]
ANYTHING_BUT_NAMES: list[object] = [
    None,
    True,
    0,
    "",
    "admin",
    {},
    {"admin": 1},
    [1],
    [None],
    [["admin"]],
    ["user", 1],
]
NOT_OUR_UUIDS = [
    "",
    "0",
    "01890A5D-AC96-774B-BCCE-B302099A8057",
    "{01890a5d-ac96-774b-bcce-b302099a8057}",
    "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
    "01890a5dac96774bbcceb302099a8057",
    "01890a5d-ac96-774b-bcce-b302099a805",
    "01890a5d-ac96-774b-bcce-b302099a8057 ",
    "01890a5d-ac96-774b-bcce-b302099a805\uff17",
    "\ud800",
]
NOT_A_TIME = [-1, 253402300800, 10**18, 10**100]


@only_es256
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("iss", "client_id", "type", "scope") for value in ANYTHING_BUT_TEXT],
        # A list of one text is an audience.
        *[("aud", value) for value in ANYTHING_BUT_TEXT if value != ["access"]],
        *[(name, value) for name in ("iat", "exp", "auth_time", "epoch") for value in ANYTHING_BUT_A_NUMBER],
        *[(name, value) for name in ("iat", "exp", "auth_time") for value in NOT_A_TIME],
        *[(name, value) for name in ("roles", "permissions") for value in ANYTHING_BUT_NAMES],
        *[(name, value) for name in ("sub", "jti", "sid") for value in [*ANYTHING_BUT_TEXT, *NOT_OUR_UUIDS]],
        ("epoch", -1),
        ("aud", "\ud800"),
        ("aud", ["\ud800"]),
        ("client_id", "\ud800"),
        ("roles", ["\ud800"]),
        ("permissions", ["\ud800"]),
        ("scope", "\ud800"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_mistyped_claim(forger: Forger, name: str, value: object) -> None:
    forger.refused(forger.token(claims={**forger.claims, name: value}))


NO_JSON_NUMBERS = ["NaN", "Infinity", "-Infinity", "9" * 5000, "01893500100", "0x70DC0000", "+1"]


@only_es256
@pytest.mark.parametrize("number", NO_JSON_NUMBERS)
@pytest.mark.parametrize("name", ["iat", "exp", "epoch", "unknown"])
def test_a_number_that_json_does_not_know(forger: Forger, name: str, number: str) -> None:
    text = json.dumps({**forger.claims, name: "@"}).replace('"@"', number)
    forger.refused(forger.token(claims=text.encode()))


@only_es256
@pytest.mark.parametrize("number", ["1893500100.0", "1.8935001e9", "1e999", "-1e999", "9" * 4000])
@pytest.mark.parametrize("name", ["iat", "exp", "epoch"])
def test_a_number_that_is_no_count_of_anything(forger: Forger, name: str, number: str) -> None:
    text = json.dumps({**forger.claims, name: "@"}).replace('"@"', number)
    forger.refused(forger.token(claims=text.encode()))


@only_es256
@pytest.mark.parametrize(
    "issuer",
    [
        "https://auth.example.com/",
        "https://AUTH.example.com",
        "http://auth.example.com",
        "https://auth.example.com\x00",
        " https://auth.example.com",
        "",
        ["https://auth.example.com"],
    ],
)
def test_another_issuer(forger: Forger, issuer: object) -> None:
    forger.refused(forger.token(claims={**forger.claims, "iss": issuer}))


@only_es256
@pytest.mark.parametrize(
    "audience",
    [
        "https://api.example.com/",
        "https://API.example.com",
        "https://auth.example.com",
        "https://api.example.com https://evil.example",
        "",
        ["https://evil.example"],
    ],
)
def test_another_audience(forger: Forger, audience: object) -> None:
    token = forger.token(claims={**forger.claims, "aud": audience})
    with pytest.raises(WrongAudience):
        forger.accepted(token)


@only_es256
@pytest.mark.parametrize(
    "audience",
    [
        None,
        [],
        [["https://api.example.com"]],
        ["https://api.example.com", 1],
        ["https://other.example", "https://api.example.com"],
        ["https://api.example.com", "https://api.example.com"],
        {"https://api.example.com": True},
    ],
)
def test_an_audience_that_is_not_one_resource(forger: Forger, audience: object) -> None:
    forger.refused(forger.token(claims={**forger.claims, "aud": audience}))


@only_es256
def test_a_list_of_one_audience_is_that_audience(forger: Forger) -> None:
    claims = {**forger.claims, "aud": ["https://api.example.com"]}
    assert forger.accepted(forger.token(claims=claims)) == ACCESS


@only_es256
def test_a_token_of_an_older_version_was_never_issued_after_a_recent_login(forger: Forger) -> None:
    claims = {name: value for name, value in forger.claims.items() if name != "auth_time"}
    assert forger.accepted(forger.token(claims=claims)).auth_time == LONG_AGO


@only_es256
def test_an_auth_time_after_the_token_was_issued(forger: Forger) -> None:
    later = int(ISSUED_AT.timestamp()) + 1
    forger.refused(forger.token(claims={**forger.claims, "auth_time": later}))


@only_es256
@pytest.mark.parametrize("kind", ["refresh", "Access", "access ", "", "id"])
def test_another_type(forger: Forger, kind: str) -> None:
    forger.refused(forger.token(claims={**forger.claims, "type": kind}))


@only_es256
@pytest.mark.parametrize("not_before", [9999999999, "0", None, True, 0.5])
def test_a_token_that_is_not_valid_yet(forger: Forger, not_before: object) -> None:
    forger.refused(forger.token(claims={**forger.claims, "nbf": not_before}))


@only_es256
def test_a_claim_that_nobody_knows_is_ignored(forger: Forger) -> None:
    claims = {**forger.claims, "admin": True, "nested": {"deep": [1, 2]}}
    assert forger.accepted(forger.token(claims=claims)) == ACCESS


# --- refresh tokens ------------------------------------------------------------------------------

REFRESH_CLAIMS = {
    "iss": "https://auth.example.com",
    "aud": "https://auth.example.com",
    "sub": str(ACCESS.user_id),
    "iat": int(ACCESS.issued_at.timestamp()),
    "exp": int(ACCESS.expires_at.timestamp()),
    "jti": str(ACCESS.token_id),
    "sid": str(ACCESS.family_id),
    "type": "refresh",
}


def refresh_refused(forger: Forger, header: dict[str, object], claims: dict[str, object]) -> None:
    token = Secret(forger.token({**forger.header, "typ": "rt+jwt", **header}, claims))
    with pytest.raises(InvalidRefreshToken) as caught:
        forger.codec.decode_refresh(token)
    assert caught.value.args == (InvalidRefreshToken.message,)
    assert caught.value.__context__ is None


@only_es256
def test_the_forgers_own_refresh_token_is_accepted(forger: Forger) -> None:
    token = forger.token({**forger.header, "typ": "rt+jwt"}, REFRESH_CLAIMS)
    assert forger.codec.decode_refresh(Secret(token)).token_id == ACCESS.token_id


@only_es256
@pytest.mark.parametrize("name", REFRESH_CLAIMS)
def test_a_refresh_token_with_a_missing_claim(forger: Forger, name: str) -> None:
    claims = {key: value for key, value in REFRESH_CLAIMS.items() if key != name}
    refresh_refused(forger, {}, claims)


@only_es256
@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example"},
        {"aud": "https://api.example.com"},
        {"aud": ["https://auth.example.com"]},
        {"type": "access"},
        {"type": None},
        {"sub": "me"},
        {"jti": 1},
        {"sid": None},
        {"iat": True},
        {"iat": -1},
        {"exp": "1893500100"},
        {"exp": 1893500100.0},
        {"exp": 10**20},
    ],
    ids=json.dumps,
)
def test_a_refresh_token_with_a_wrong_claim(forger: Forger, change: dict[str, object]) -> None:
    refresh_refused(forger, {}, {**REFRESH_CLAIMS, **change})


@only_es256
@pytest.mark.parametrize("typ", ["at+jwt", "JWT", "", None])
def test_a_refresh_token_with_another_typ(forger: Forger, typ: str | None) -> None:
    refresh_refused(forger, {"typ": typ}, REFRESH_CLAIMS)


@only_es256
def test_an_access_token_dressed_up_as_a_refresh_token(forger: Forger) -> None:
    refresh_refused(forger, {}, dict(forger.claims))
    refresh_refused(forger, {}, {**forger.claims, "type": "refresh"})
    refresh_refused(forger, {"typ": "at+jwt"}, {**forger.claims, **REFRESH_CLAIMS})


@only_es256
def test_a_refresh_token_dressed_up_as_an_access_token(forger: Forger) -> None:
    forger.refused(forger.token(claims=REFRESH_CLAIMS))
    forger.refused(forger.token(claims={**REFRESH_CLAIMS, "type": "access"}))
    forger.refused(forger.token({**forger.header, "typ": "rt+jwt"}))


# --- JSON ----------------------------------------------------------------------------------------


@only_es256
@pytest.mark.parametrize("name", [*REQUIRED, "permissions", "scope", "unknown"])
def test_a_claim_that_stands_twice(forger: Forger, name: str) -> None:
    value = json.dumps(forger.claims.get(name, 1))
    body = json.dumps(forger.claims)[1:-1]
    if name not in forger.claims:
        body += f', "{name}": 1'
    for repeated in (
        f'{{"{name}": {value}, {body}}}',
        f'{{{body}, "{name}": {value}}}',
        f'{{{body}, "\\u{ord(name[0]):04x}{name[1:]}": {value}}}',
    ):
        forger.refused(forger.token(claims=repeated.encode()))


@only_es256
def test_a_claim_that_stands_twice_deep_inside(forger: Forger) -> None:
    body = json.dumps(forger.claims)[1:-1]
    forger.refused(forger.token(claims=f'{{{body}, "x": [{{"y": 1, "y": 2}}]}}'.encode()))


@only_es256
@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
def test_a_header_parameter_that_stands_twice(forger: Forger, name: str) -> None:
    body = json.dumps(forger.header)[1:-1]
    value = json.dumps(forger.header[name])
    for repeated in (
        f'{{"{name}": "none", {body}}}',
        f'{{{body}, "{name}": "none"}}',
        f'{{{body}, "{name}": {value}}}',
    ):
        forger.refused(forger.token(repeated.encode()))


@only_es256
@pytest.mark.parametrize(
    "garbled",
    [
        lambda text: b"",
        lambda text: b"{}",
        lambda text: b"[]",
        lambda text: b'""',
        lambda text: b"null",
        lambda text: b"1",
        lambda text: b"{",
        lambda text: b"[" + text.encode() + b"]",
        lambda text: json.dumps(text).encode(),
        lambda text: text.encode() + b"x",
        lambda text: text.encode() + text.encode(),
        lambda text: text.encode() + b"\x00",
        lambda text: text.encode() + b"\xff",
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-32"),
        lambda text: text.replace('"', "'").encode(),
        lambda text: text.replace("}", ",}").encode(),
        lambda text: b"/* */" + text.encode(),
    ],
    ids=[
        "nothing",
        "an empty object",
        "an empty list",
        "an empty text",
        "null",
        "a number",
        "a bracket",
        "in a list",
        "as a text",
        "with a letter behind",
        "twice",
        "with a null byte behind",
        "with broken UTF-8 behind",
        "with a byte order mark",
        "in UTF-16",
        "in UTF-16 without a mark",
        "in UTF-32",
        "in single quotes",
        "with a trailing comma",
        "with a comment",
    ],
)
def test_json_that_is_no_json_object_in_utf_8(
    forger: Forger, garbled: Callable[[str], bytes]
) -> None:
    forger.refused(forger.token(garbled(json.dumps(forger.header))))
    forger.refused(forger.token(claims=garbled(json.dumps(forger.claims))))


@only_es256
@pytest.mark.parametrize("opening", ["[", '{"a":', "[{"], ids=["lists", "objects", "both"])
def test_a_bomb_of_nested_json(forger: Forger, opening: str) -> None:
    bomb = opening.encode() * (5500 // len(opening))
    closed = bomb + b"1" + (b"]" if opening == "[" else b"}" if opening != "[{" else b"}]") * 500
    for content in (bomb, closed[:5600]):
        forger.refused(forger.token(content))
        forger.refused(forger.token(claims=content))
    body = json.dumps(forger.claims)[1:-1].encode()
    deep = forger.token(claims=b"{" + body + b',"x":' + b"[" * 2000 + b"]" * 2000 + b"}")
    # How deep JSON may be is for the Python that reads it to say; the signature is good.
    with suppress(InvalidAccessToken):
        forger.accepted(deep)


# --- the compact form ----------------------------------------------------------------------------


def test_every_other_character_at_every_end_of_a_segment(forger: Forger) -> None:
    """Stray bits in a last character decode to the same bytes: they are refused all the same."""
    segments = forger.token().split(".")
    for index, segment in enumerate(segments):
        for character in BASE64URL.replace(segment[-1], ""):
            changed = [*segments[:index], segment[:-1] + character, *segments[index + 1 :]]
            forger.refused(".".join(changed))


def test_stray_bits_under_a_signature_that_covers_them(forger: Forger) -> None:
    for padded in range(3):
        claims = json.dumps(forger.claims) + " " * padded
        header, payload, _ = forger.token(claims=claims.encode()).split(".")
        if len(payload) % 4 == 0:
            continue
        stray = payload[:-1] + BASE64URL[BASE64URL.index(payload[-1]) + 1]
        signature = encoded(forger.key.sign(f"{header}.{stray}".encode()))
        forger.refused(f"{header}.{stray}.{signature}")


@pytest.mark.parametrize("junk", ["=", "==", " ", "\n", "\r\n", "\t", "\x00", "+", "/", "!", "~", "é", "\ud800", "%3D"])  # fmt: skip
@pytest.mark.parametrize("index", [0, 1, 2], ids=["header", "payload", "signature"])
def test_junk_in_a_segment_even_if_the_signature_covers_it(
    forger: Forger, index: int, junk: str
) -> None:
    segments = forger.token().split(".")
    for changed in (segments[index] + junk, junk + segments[index], segments[index][:4] + junk + segments[index][4:]):  # fmt: skip
        parts = [*segments[:index], changed, *segments[index + 1 :]]
        forger.refused(".".join(parts))
        if index < 2:
            covered = ".".join(parts[:2]).encode("utf-8", "surrogatepass")
            forger.refused(f"{parts[0]}.{parts[1]}.{encoded(forger.key.sign(covered))}")


def test_the_other_base64_alphabet(forger: Forger) -> None:
    claims = {**forger.claims, "client_id": "~~~???>>>"}
    header, payload, signature = forger.token(claims=claims).split(".")
    assert set("-_") & set(payload)
    other = payload.replace("-", "+").replace("_", "/")
    forger.refused(f"{header}.{other}.{signature}")
    covered = encoded(forger.key.sign(f"{header}.{other}".encode()))
    forger.refused(f"{header}.{other}.{covered}")


def test_every_flipped_bit_of_the_signature(forger: Forger) -> None:
    head, _, signature = forger.token().rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    for position in range(min(len(raw), 64)):
        for bit in range(8):
            flipped = bytearray(raw)
            flipped[position] ^= 1 << bit
            forger.refused(f"{head}.{encoded(bytes(flipped))}")


@pytest.mark.parametrize(
    "rearranged",
    [
        "{h}.{p}",
        "{h}.{p}.",
        ".{p}.{s}",
        "{h}.{p}.{s}.",
        ".{h}.{p}.{s}",
        "{h}.{p}.{s}.{s}",
        "{h}.{p}.{s}.{p}.{s}",
        "{h}.{h}.{s}",
        "{p}.{h}.{s}",
        "{h}.{p}.{p}",
        "{h}.{p}..{s}",
        "{h} {p} {s}",
        "Bearer {h}.{p}.{s}",
        '"{h}.{p}.{s}"',
        "{h}.{p}.{s}\n",
        "{h}.{p}.{s},{h}.{p}.{s}",
    ],
)
def test_segments_in_another_arrangement(forger: Forger, rearranged: str) -> None:
    header, payload, signature = forger.token().split(".")
    forger.refused(rearranged.format(h=header, p=payload, s=signature))


def test_a_token_in_json_serialisation(forger: Forger) -> None:
    header, payload, signature = forger.token().split(".")
    flattened = {"protected": header, "payload": payload, "signature": signature}
    general = {"payload": payload, "signatures": [{"protected": header, "signature": signature}]}
    for content in (flattened, general):
        forger.refused(json.dumps(content))
        forger.refused(encoded(json.dumps(content).encode()))


def test_a_token_inside_a_token(forger: Forger) -> None:
    inner = forger.token()
    forger.refused(forger.token(claims=inner.encode()))
    forger.refused(forger.token(claims=json.dumps(inner).encode()))
    forger.refused(forger.token({**forger.header, "cty": "JWT"}, inner.encode()))


def test_a_token_that_is_too_long(forger: Forger) -> None:
    short = len(forger.token(claims={**forger.claims, "filler": ""}))
    # Three bytes become four characters.
    fits = (MAX_TOKEN_LENGTH - short) * 3 // 4
    claims = {**forger.claims, "filler": "x" * (fits - 3)}
    longest = forger.token(claims=claims)
    assert MAX_TOKEN_LENGTH - 8 <= len(longest) <= MAX_TOKEN_LENGTH
    assert forger.accepted(longest) == ACCESS
    too_long = forger.token(claims={**forger.claims, "filler": "x" * (fits + 6)})
    assert len(too_long) > MAX_TOKEN_LENGTH
    forger.refused(too_long)


# --- signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 63, 64, 65, 70, 72, 255, 256, 257, 512])
@pytest.mark.parametrize("byte", [0x00, 0x01, 0xFF])
def test_a_signature_of_one_repeated_byte(forger: Forger, length: int, byte: int) -> None:
    forger.refused(forger.token(signature=bytes([byte]) * length))


def test_a_signature_cut_short_or_made_longer(forger: Forger) -> None:
    raw = forger.key.sign(forger.token().rpartition(".")[0].encode())
    for signature in (
        raw[:-1],
        raw[1:],
        raw + b"\x00",
        b"\x00" + raw,
        raw + raw,
        raw[: len(raw) // 2],
    ):
        forger.refused(forger.token(signature=signature))


@only_es256
@pytest.mark.parametrize("r", [0, 1, P256_ORDER - 1, P256_ORDER, P256_ORDER + 1])
@pytest.mark.parametrize("s", [0, 1, P256_ORDER - 1, P256_ORDER, P256_ORDER + 1])
def test_an_ecdsa_signature_of_special_numbers(forger: Forger, r: int, s: int) -> None:
    forger.refused(forger.token(signature=r.to_bytes(32) + s.to_bytes(32)))


@only_es256
def test_an_ecdsa_signature_with_one_half_zero(forger: Forger) -> None:
    raw = forger.key.sign(forger.token().rpartition(".")[0].encode())
    for signature in (bytes(32) + raw[32:], raw[:32] + bytes(32), raw[32:] + raw[:32]):
        forger.refused(forger.token(signature=signature))


@only_es256
def test_an_ecdsa_signature_in_der(forger: Forger) -> None:
    raw = forger.key.sign(forger.token().rpartition(".")[0].encode())
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    forger.refused(forger.token(signature=der))


@only_es256
def test_a_mirrored_ecdsa_signature_gains_nothing(forger: Forger) -> None:
    """(r, n-s) is a valid signature of the same message: nothing here goes by a token's text."""
    raw = forger.key.sign(forger.token().rpartition(".")[0].encode())
    mirrored = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32)
    assert forger.accepted(forger.token(signature=mirrored)) == ACCESS


@only_eddsa
def test_an_eddsa_signature_with_a_scalar_beyond_the_order(forger: Forger) -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    raw = forger.key.sign(forger.token().rpartition(".")[0].encode())
    beyond = int.from_bytes(raw[32:], "little") + order
    forger.refused(forger.token(signature=raw[:32] + beyond.to_bytes(32, "little")))


@only_rs256
def test_an_rsa_signature_beyond_the_modulus(forger: Forger) -> None:
    public = forger.key._public
    assert isinstance(public, rsa.RSAPublicKey)
    modulus = public.public_numbers().n
    raw = forger.key.sign(forger.token().rpartition(".")[0].encode())
    beyond = int.from_bytes(raw) + modulus
    for signature in (beyond.to_bytes(257), modulus.to_bytes(256), (modulus - 1).to_bytes(256)):
        forger.refused(forger.token(signature=signature))


@only_hs256
def test_an_hmac_of_another_key_or_of_half_the_input(forger: Forger) -> None:
    header, payload, _ = forger.token().split(".")
    for secret in (b"", b"secret", bytes(32), forger.key.kid.encode()):
        forger.refused(forger.token(secret=secret))
    for part in (header, payload, f"{header}.", f"{payload}.{header}", ""):
        forger.refused(forger.token(signature=forger.key.sign(part.encode())))
