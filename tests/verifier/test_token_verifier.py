"""Tokens checked in another service: with its issuer's keys, and what its issuer revokes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyturn.testing import make_token, make_verifier, public_jwks
from keyturn.testing.doubles import ManualClock
from keyturn.testing.tokens import TEST_AUDIENCE, TEST_ISSUER
from keyturn.verifier import (
    IgnoreRevocations,
    InvalidAccessToken,
    KeyFetching,
    KeysUnavailable,
    RevocationFeed,
    RevocationsUnknown,
    StaticTokenVerifier,
    TokenVerifier,
    WhenLost,
)

JWKS = "/.well-known/jwks.json"
FEED = "/v1/revocations"
NO_KEYS: dict[str, object] = {"keys": []}

VerifierOf = Callable[..., TokenVerifier]


class Issuer(Protocol):
    """What the tests ask of the stand-in in `conftest.py`."""

    jwks: object
    etag: str
    cache_control: str
    revocations: list[object]
    asked: list[str]
    statuses: list[int]
    broken: set[str]
    forgets_cursors: bool

    def revoke(self, kind: str, subject: UUID, epoch: int = 0) -> None: ...


@pytest.fixture
def token(clock: ManualClock) -> Callable[..., str]:
    def token(**claims: object) -> str:
        return make_token(**{"issued_at": clock.now(), **claims})  # type: ignore[arg-type]  # a test's own words

    return token


async def test_a_good_token_says_who_calls_and_costs_no_request(
    verifier_of: VerifierOf, issuer: Issuer, token: Callable[..., str]
) -> None:
    user_id, session_id = uuid4(), uuid4()
    async with verifier_of() as verifier:
        asked = list(issuer.asked)
        principal = await verifier.authenticate(
            token(
                user_id=user_id,
                session_id=session_id,
                roles={"author"},
                permissions={"notes:read"},
            )
        )
        assert issuer.asked == asked == [JWKS]
    assert (principal.user_id, principal.session_id) == (user_id, session_id)
    assert principal.has_role("author")
    assert principal.has_permission("notes:read")


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://elsewhere.example"},
        {"audience": "somebody-else"},
        {"issuer": TEST_ISSUER + "/"},
    ],
    ids=str,
)
async def test_the_token_of_another_issuer_or_for_another_audience_is_refused(
    verifier_of: VerifierOf, token: Callable[..., str], wrong: dict[str, str]
) -> None:
    async with verifier_of() as verifier:
        with pytest.raises(InvalidAccessToken):
            await verifier.authenticate(token(**wrong))


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "\x00", "é", "e" * 10_000, "..", "\ud800"])
async def test_what_is_no_token_is_refused_without_asking_anybody(
    verifier_of: VerifierOf, issuer: Issuer, text: str
) -> None:
    async with verifier_of() as verifier:
        with pytest.raises(InvalidAccessToken):
            await verifier.authenticate(text)
    assert issuer.asked == [JWKS]


async def test_another_kind_of_token_and_another_key_are_refused(
    verifier_of: VerifierOf, issuer: Issuer, token: Callable[..., str]
) -> None:
    good = token()
    header = jwt.get_unverified_header(good)
    payload = jwt.decode(good, options={"verify_signature": False})
    stranger = Ed25519PrivateKey.generate()
    async with verifier_of() as verifier:
        for headers in (header, header | {"typ": "rt+jwt"}, header | {"typ": "JWT"}):
            forged = jwt.encode(payload, stranger, algorithm="EdDSA", headers=headers)
            with pytest.raises(InvalidAccessToken):
                await verifier.authenticate(forged)
        confused = jwt.encode(
            payload, "0123456789abcdef" * 4, algorithm="HS256", headers={**header, "alg": "HS256"}
        )
        with pytest.raises(InvalidAccessToken):
            await verifier.authenticate(confused)
        unsigned = jwt.encode(payload, None, algorithm="none", headers={**header, "alg": "none"})  # type: ignore[arg-type]  # there is no key
        with pytest.raises(InvalidAccessToken):
            await verifier.authenticate(unsigned)


async def test_a_token_ends_when_it_says(
    verifier_of: VerifierOf, clock: ManualClock, token: Callable[..., str]
) -> None:
    async with verifier_of() as verifier:
        text = token(lifetime=timedelta(seconds=60))
        clock.advance(timedelta(seconds=59))
        await verifier.authenticate(text)
        clock.advance(timedelta(seconds=1))
        with pytest.raises(InvalidAccessToken):
            await verifier.authenticate(text)


async def test_no_token_is_trusted_before_keys_are_known(
    verifier_of: VerifierOf,
    issuer: Issuer,
    token: Callable[..., str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(KeysUnavailable):
        await verifier_of().authenticate(token())
    issuer.broken = {JWKS}
    with caplog.at_level(logging.WARNING, "keyturn"):
        async with verifier_of() as verifier:
            with pytest.raises(KeysUnavailable):
                await verifier.authenticate(token())
            with pytest.raises(KeysUnavailable):
                await verifier.check()
    assert "fetching the keys that tokens are signed with fails" in caplog.text


async def test_keys_serve_on_for_a_while_when_they_can_not_be_fetched(
    verifier_of: VerifierOf, issuer: Issuer, clock: ManualClock, token: Callable[..., str]
) -> None:
    async with verifier_of() as verifier:
        text = token(lifetime=timedelta(days=1))
        issuer.broken = {JWKS}
        with pytest.raises(KeysUnavailable):
            await verifier._keys.refresh()
        clock.advance(timedelta(hours=1))
        await verifier.authenticate(text)
        await verifier.check()
        clock.advance(timedelta(seconds=1))
        with pytest.raises(KeysUnavailable):
            await verifier.authenticate(text)
        issuer.broken = set()
        await verifier._keys.refresh()
        await verifier.authenticate(text)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"no json",
        b"\xff",
        b"[]",
        b'{"keys": 1}',
        b"[" * 100_000,
        b'{"keys": []}' + b" " * 300_000,
    ],
)
async def test_a_malformed_key_set_takes_no_key_away(
    verifier_of: VerifierOf, issuer: Issuer, token: Callable[..., str], document: bytes
) -> None:
    async with verifier_of() as verifier:
        issuer.jwks, issuer.etag = document, '"2"'
        with pytest.raises(KeysUnavailable):
            await verifier._keys.refresh()
        await verifier.authenticate(token())


async def test_keys_and_feed_are_taken_from_nowhere_that_an_answer_sends_one_to(
    issuer: Callable[[httpx.Request], Awaitable[httpx.Response]],
    feed: RevocationFeed,
    clock: ManualClock,
    token: Callable[..., str],
) -> None:
    asked = []

    async def sent_elsewhere(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if request.url.host == "elsewhere.example":
            return await issuer(request)
        return httpx.Response(
            307, headers={"Location": f"http://elsewhere.example{request.url.path}"}
        )

    async with TokenVerifier(
        issuer=TEST_ISSUER,
        audience=TEST_AUDIENCE,
        revocations=feed,
        transport=httpx.MockTransport(sent_elsewhere),
        clock=clock,
    ) as verifier:
        with pytest.raises(KeysUnavailable):
            await verifier.authenticate(token())
    assert set(asked) == {httpx.URL(TEST_ISSUER).host}


async def test_a_key_that_is_published_no_more_verifies_no_more(
    verifier_of: VerifierOf, issuer: Issuer, token: Callable[..., str]
) -> None:
    async with verifier_of() as verifier:
        await verifier.authenticate(token())
        issuer.jwks, issuer.etag = NO_KEYS, '"2"'
        await verifier._keys.refresh()
        with pytest.raises(InvalidAccessToken):
            await verifier.authenticate(token())


async def test_unchanged_keys_are_not_sent_again(verifier_of: VerifierOf, issuer: Issuer) -> None:
    async with verifier_of() as verifier:
        await verifier._keys.refresh()
        await verifier.check()
    assert issuer.statuses == [200, 304]


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("public, max-age=300", 240),
        ("max-age=100", 80),
        ("no-store", 240),
        ("max-age=0", 8),
        ("max-age=999999999", 2880),
        ("s-maxage=5, x-max-age=7", 240),
    ],
)
async def test_keys_are_fetched_again_before_they_expire(
    verifier_of: VerifierOf, issuer: Issuer, cache_control: str, seconds: float
) -> None:
    issuer.cache_control = cache_control
    async with verifier_of() as verifier:
        assert verifier._keys.pause() == timedelta(seconds=seconds)
        issuer.broken = {JWKS}
        with pytest.raises(KeysUnavailable):
            await verifier._keys.refresh()
        assert verifier._keys.pause() <= timedelta(seconds=10)


async def test_a_new_key_is_fetched_by_the_first_token_that_names_it(
    verifier_of: VerifierOf, issuer: Issuer, token: Callable[..., str]
) -> None:
    issuer.jwks = NO_KEYS
    async with verifier_of() as verifier:
        issuer.jwks, issuer.etag = public_jwks(), '"2"'
        await verifier.authenticate(token())
    assert issuer.asked == [JWKS, JWKS]


async def test_made_up_keys_are_looked_for_once_in_a_cooldown(
    verifier_of: VerifierOf, issuer: Issuer, clock: ManualClock, token: Callable[..., str]
) -> None:
    issuer.jwks = NO_KEYS
    async with verifier_of() as verifier:
        for _ in range(20):
            with pytest.raises(InvalidAccessToken):
                await verifier.authenticate(token())
        assert issuer.asked == [JWKS, JWKS]
        clock.advance(timedelta(seconds=10))
        with pytest.raises(InvalidAccessToken):
            await verifier.authenticate(token())
        assert issuer.asked == [JWKS, JWKS, JWKS]


async def test_many_tokens_of_a_new_key_wait_for_one_fetch(
    verifier_of: VerifierOf, issuer: Issuer, token: Callable[..., str]
) -> None:
    issuer.jwks = NO_KEYS
    async with verifier_of() as verifier:
        issuer.jwks, issuer.etag = public_jwks(), '"2"'
        gate, arrived = asyncio.Event(), asyncio.Event()
        answer = verifier._http._transport.handle_async_request

        async def slowly(request: httpx.Request) -> httpx.Response:
            arrived.set()
            await gate.wait()
            return await answer(request)

        verifier._http._transport.handle_async_request = slowly  # type: ignore[method-assign]  # holds the answer back
        waiting = [asyncio.ensure_future(verifier.authenticate(token())) for _ in range(50)]
        await arrived.wait()
        gate.set()
        await asyncio.gather(*waiting)
    assert issuer.asked == [JWKS, JWKS]


async def test_nobody_can_tell_about_a_new_key_while_keys_can_not_be_fetched(
    verifier_of: VerifierOf, issuer: Issuer, token: Callable[..., str]
) -> None:
    issuer.jwks = NO_KEYS
    async with verifier_of() as verifier:
        issuer.broken = {JWKS}
        for _ in range(2):
            with pytest.raises(KeysUnavailable):
                await verifier.authenticate(token())
    assert issuer.asked == [JWKS, JWKS]


@pytest.mark.parametrize("kind", ["jti", "sid", "sub"])
async def test_what_is_revoked_is_refused_from_the_next_look_on(
    verifier_of: VerifierOf,
    issuer: Issuer,
    feed: RevocationFeed,
    token: Callable[..., str],
    kind: str,
) -> None:
    text = token()
    other = token()
    async with verifier_of(feed) as verifier:
        principal = await verifier.authenticate(text)
        subject = {
            "jti": principal.token_id,
            "sid": principal.session_id,
            "sub": principal.user_id,
        }[kind]
        issuer.revoke(kind, subject, epoch=1)
        assert verifier._follow is not None
        await verifier._follow.once()
        with pytest.raises(InvalidAccessToken):
            await verifier.authenticate(text)
        await verifier.authenticate(other)
        await verifier._follow.once()
        with pytest.raises(InvalidAccessToken):
            await verifier.authenticate(text)


async def test_a_feed_with_nothing_new_is_answered_shortly(
    verifier_of: VerifierOf, issuer: Issuer, feed: RevocationFeed
) -> None:
    async with verifier_of(feed) as verifier:
        assert verifier._follow is not None
        await verifier._follow.once()
        assert issuer.statuses == [200, 200, 304]
        issuer.revoke("jti", uuid4())
        await verifier._follow.once()
        await verifier.check()
    assert issuer.statuses[-1] == 200


async def test_a_service_that_forgot_the_cursor_is_read_from_the_start(
    verifier_of: VerifierOf, issuer: Issuer, feed: RevocationFeed, token: Callable[..., str]
) -> None:
    text = token()
    async with verifier_of(feed) as verifier:
        principal = await verifier.authenticate(text)
        issuer.forgets_cursors = True
        issuer.revoke("sid", principal.session_id)
        assert verifier._follow is not None
        await verifier._follow.once()
        with pytest.raises(InvalidAccessToken):
            await verifier.authenticate(text)


async def test_without_the_feed_for_too_long_no_token_is_trusted(
    verifier_of: VerifierOf,
    issuer: Issuer,
    feed: RevocationFeed,
    clock: ManualClock,
    token: Callable[..., str],
) -> None:
    async with verifier_of(feed) as verifier:
        issuer.broken = {FEED}
        clock.advance(timedelta(seconds=10))
        await verifier.authenticate(token())
        clock.advance(timedelta(seconds=1))
        with pytest.raises(RevocationsUnknown):
            await verifier.authenticate(token())
        with pytest.raises(RevocationsUnknown):
            await verifier.check()


async def test_a_service_may_choose_to_trust_what_is_not_known_to_be_revoked(
    verifier_of: VerifierOf, issuer: Issuer, clock: ManualClock, token: Callable[..., str]
) -> None:
    trusting = RevocationFeed("notes", "a secret", when_lost=WhenLost.FAIL_OPEN)
    revoked = token(lifetime=timedelta(days=1))
    async with verifier_of(trusting) as verifier:
        issuer.revoke("sid", (await verifier.authenticate(revoked)).session_id)
        assert verifier._follow is not None
        await verifier._follow.once()
        issuer.broken = {FEED}
        clock.advance(timedelta(minutes=30))
        await verifier.authenticate(token())
        with pytest.raises(InvalidAccessToken):
            await verifier.authenticate(revoked)
        with pytest.raises(RevocationsUnknown):
            await verifier.check()


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"kind": "moon", "subject": str(uuid4()), "epoch": 0, "expires_at": "2126-01-01T00:00:00Z"},
        {"kind": "sid", "subject": "x", "epoch": 0, "expires_at": "2126-01-01T00:00:00Z"},
        {"kind": "sid", "subject": str(uuid4()), "epoch": True, "expires_at": "2126-01-01T00:00Z"},
        {"kind": "sid", "subject": str(uuid4()), "epoch": 0, "expires_at": "2126-01-01T00:00:00"},
        {"kind": "sid", "subject": str(uuid4()), "epoch": 0, "expires_at": None},
        "sid",
    ],
    ids=str,
)
async def test_a_feed_that_can_not_be_understood_counts_as_lost(
    verifier_of: VerifierOf,
    issuer: Issuer,
    feed: RevocationFeed,
    entry: object,
    token: Callable[..., str],
) -> None:
    issuer.revocations.append(entry)
    async with verifier_of(feed) as verifier:
        with pytest.raises(RevocationsUnknown):
            await verifier.authenticate(token())


async def test_a_wrong_secret_is_found_out_and_shown_to_nobody(
    verifier_of: VerifierOf, token: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    wrong = RevocationFeed("notes", "a wrong word")
    with caplog.at_level(logging.DEBUG):
        async with verifier_of(wrong) as verifier:
            with pytest.raises(RevocationsUnknown):
                await verifier.authenticate(token())
    assert "the feed answers 401" in caplog.text
    assert "a wrong word" not in caplog.text + repr(wrong) + str(vars(verifier))


async def test_without_a_feed_nothing_is_asked_of_it(
    verifier_of: VerifierOf, issuer: Issuer, token: Callable[..., str]
) -> None:
    async with verifier_of(IgnoreRevocations()) as verifier:
        await verifier.authenticate(token())
        await verifier.check()
    assert issuer.asked == [JWKS]


async def test_keys_and_feed_are_followed_in_the_background(
    verifier_of: VerifierOf,
    issuer: Issuer,
    token: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick = RevocationFeed("notes", "a secret", lag=timedelta(milliseconds=100))
    monkeypatch.setattr(
        "keyturn.adapters.jwks.remote_keys.RemoteKeys.pause", lambda _: timedelta(0)
    )
    async with asyncio.timeout(10), verifier_of(quick) as verifier:
        principal = await verifier.authenticate(text := token())
        issuer.revoke("sid", principal.session_id)
        revoked = False
        while not revoked or issuer.asked.count(JWKS) < 3:
            await asyncio.sleep(0.01)
            try:
                await verifier.authenticate(text)
            except InvalidAccessToken:
                revoked = True


@pytest.mark.parametrize(
    "arguments",
    [
        {"issuer": "auth.example.com"},
        {"issuer": "ftp://auth.example.com"},
        {"issuer": "http://auth.example.com"},
        {"issuer": "https://auth.example.com", "jwks_url": "http://keys.example.com"},
        {"issuer": "https://auth.example.com", "audience": ""},
    ],
    ids=str,
)
def test_a_verifier_that_would_not_be_safe_is_not_made(arguments: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        TokenVerifier(**{"audience": "keyturn", "revocations": IgnoreRevocations(), **arguments})  # type: ignore[arg-type]  # wrong on purpose


def test_plain_http_must_be_asked_for_or_be_this_machine() -> None:
    for issuer, allowed in (("http://auth.internal", True), ("http://127.0.0.1:8000", False)):
        TokenVerifier(
            issuer=issuer,
            audience="keyturn",
            revocations=IgnoreRevocations(),
            allow_plain_http=allowed,
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": ""},
        {"client_secret": ""},
        {"lag": timedelta(0)},
        {"max_staleness": timedelta(seconds=1)},
    ],
    ids=str,
)
def test_a_feed_that_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        RevocationFeed(**{"client_id": "notes", "client_secret": "a secret", **wrong})  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    "wrong", [{"cooldown": timedelta(0)}, {"max_staleness": timedelta(seconds=1)}], ids=str
)
def test_key_fetching_that_contradicts_itself_is_refused(wrong: dict[str, timedelta]) -> None:
    with pytest.raises(ValueError):
        KeyFetching(**wrong)


async def test_a_static_verifier_trusts_the_tokens_of_a_test(clock: ManualClock) -> None:
    await make_verifier().authenticate(make_token())
    with pytest.raises(InvalidAccessToken):
        await make_verifier(clock=clock).authenticate(make_token())
    with pytest.raises(ValueError):
        StaticTokenVerifier(NO_KEYS, issuer="x", audience="y")


async def test_a_test_can_make_a_token_that_is_limited_expired_or_tells_less() -> None:
    verifier = make_verifier()
    limited = await verifier.authenticate(
        make_token(roles={"author"}, permissions={"a:b", "c:d"}, scope={"a:b"})
    )
    assert limited.has_permission("a:b")
    assert not limited.has_permission("c:d")
    assert not limited.has_role("author")
    silent = await verifier.authenticate(make_token(permissions=None))
    assert silent.permissions is None
    with pytest.raises(InvalidAccessToken):
        await verifier.authenticate(make_token(lifetime=timedelta(0)))
