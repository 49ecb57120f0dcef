"""Whatever a generator thinks of, no request is answered with a 500."""

import json

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROUTES = [
    ("POST", "/v1/auth/register"),
    ("POST", "/v1/auth/login"),
    ("POST", "/v1/auth/refresh"),
    ("POST", "/v1/auth/logout"),
    ("POST", "/v1/auth/logout-all"),
    ("GET", "/v1/auth/verify"),
    ("GET", "/v1/users/me"),
    ("PATCH", "/v1/users/me"),
    ("POST", "/v1/users/me/password"),
    ("POST", "/v1/users/me/email"),
    ("GET", "/v1/users/me/export"),
    ("DELETE", "/v1/users/me"),
    ("POST", "/v1/auth/email-verification"),
    ("POST", "/v1/auth/email-verification/confirm"),
    ("POST", "/v1/auth/password-reset"),
    ("POST", "/v1/auth/password-strength"),
    ("POST", "/v1/auth/password-reset/confirm"),
    ("GET", "/v1/sessions"),
    ("DELETE", "/v1/sessions"),
    ("DELETE", "/v1/sessions/x"),
    ("POST", "/oauth/token"),
    ("POST", "/oauth/revoke"),
    ("POST", "/oauth/introspect"),
    ("GET", "/v1/revocations"),
    ("GET", "/.well-known/oauth-authorization-server"),
]
FIELDS = [
    "email", "password", "display_name", "device_name", "transport", "refresh_token",
    "current_password", "new_password", "grant_type", "username", "scope", "client_id",
    "token", "token_type_hint", "client_secret", "new_email",
]  # fmt: skip
TEXTS = st.one_of(
    # Surrogates too: JSON can spell them.
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.sampled_from(["ada@example.com", "correct horse battery staple", "cookie", "password"]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
BODIES = st.one_of(
    st.dictionaries(st.sampled_from(FIELDS), VALUES).map(lambda body: json.dumps(body).encode()),
    st.dictionaries(st.sampled_from(FIELDS), TEXTS).map(
        lambda body: "&".join(f"{name}={text}" for name, text in body.items()).encode(
            "utf-8", "surrogatepass"
        )
    ),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [b"authorization", b"cookie", b"origin", b"sec-fetch-site", b"x-requested-with",
         b"user-agent", b"x-request-id", b"host"]
    ),
    st.binary(max_size=30)
    | st.sampled_from([b"Bearer x", b"Basic Og==", b"__Host-keyturn_refresh=x", b"same-origin"]),
)  # fmt: skip
MEDIA_TYPES = st.sampled_from([b"application/json", b"application/x-www-form-urlencoded", b"x"])


@settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    route=st.sampled_from(ROUTES),
    query=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    body=BODIES,
    headers=HEADERS,
    media_type=MEDIA_TYPES,
    authenticated=st.booleans(),
)
async def test_no_request_is_answered_with_a_500(
    client: httpx.AsyncClient,
    as_ada: dict[str, str],
    route: tuple[str, str],
    query: str,
    body: bytes,
    headers: dict[bytes, bytes],
    media_type: bytes,
    authenticated: bool,
) -> None:
    method, path = route
    if authenticated:
        headers = {**headers, b"authorization": as_ada["Authorization"].encode()}
    answer = await client.request(
        method,
        f"{path}?{query}",
        content=body,
        headers={**headers, b"content-type": media_type},
    )
    assert answer.status_code < 500
