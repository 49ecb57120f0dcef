"""An attacker answers in place of the key set, the feed, the service or Redis, or mints tokens."""

import gzip
import logging
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from functools import cache
from uuid import uuid4

import httpx
import jwt
import pytest
from redis.asyncio import Redis

from keyturn.adapters.jwks.remote_keys import KeyFetching, KeysUnavailable, RemoteKeys
from keyturn.adapters.pyjwt.access_token_reader import PyJwtAccessTokenReader
from keyturn.adapters.pyjwt.codec import PyJwtCodec
from keyturn.adapters.pyjwt.jwks import keys_from_jwks
from keyturn.adapters.pyjwt.key_ring import KeyRing
from keyturn.adapters.range_lookup.breached_passwords import RangeLookup
from keyturn.adapters.redis.revocations import RedisRevocationList
from keyturn.adapters.revocation_feed.revocation_list import HttpRevocationList
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.revocations import SqlRevocationList
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.client import AsyncKeyturnClient, KeyturnClient, UnexpectedAnswer
from keyturn.domain.errors import InvalidAccessToken, StoreUnavailable
from keyturn.domain.policies import MAX_CLOCK_SKEW
from keyturn.domain.secret import Secret
from keyturn.testing import make_token, make_verifier, public_jwks
from keyturn.testing.builders import make_claims, make_family, make_revocation, make_user
from keyturn.testing.doubles import START, ManualClock
from keyturn.testing.steps import stage_revocation
from keyturn.testing.tokens import TEST_AUDIENCE, TEST_ISSUER, _key, _private_key
from keyturn.use_cases.revocation_replica import RevocationReplica

URL = "https://auth.example.com"

# --- answers that fill the memory ------------------------------------------------------------------

INFLATED = 64 * 1024 * 1024
AFFORDABLE = 16 * 1024 * 1024
"""Bytes that a reader may allocate for a hostile answer whose bound is less."""


@cache
def bomb(encoding: str) -> bytes:
    """Return a small body that inflates to `INFLATED` bytes."""
    window = 31 if encoding == "gzip" else 15
    compressor = zlib.compressobj(9, wbits=window)
    block = b" " * 1024 * 1024
    parts = [compressor.compress(block) for _ in range(INFLATED // len(block))]
    return b"".join([*parts, compressor.flush()])


class Body(httpx.AsyncByteStream, httpx.SyncByteStream):
    """A body in chunks, without end if it has none, that counts what was read of it."""

    def __init__(self, content: bytes | None) -> None:
        self._content = content
        self.read = 0

    def __iter__(self) -> Iterator[bytes]:
        if self._content is not None:
            self.read += len(self._content)
            yield self._content
            return
        while True:
            self.read += 65_536
            yield b" " * 65_536

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk

    async def aclose(self) -> None:
        pass

    def close(self) -> None:
        pass


async def read_key_set(answer: httpx.MockTransport) -> None:
    async with httpx.AsyncClient(transport=answer) as http:
        keys = RemoteKeys(
            http, URL, lambda document: keys_from_jwks(document).find, ManualClock(), KeyFetching()
        )
        with pytest.raises(KeysUnavailable):
            await keys.refresh()


async def read_feed(answer: httpx.MockTransport) -> None:
    async with httpx.AsyncClient(transport=answer) as http:
        feed = HttpRevocationList(http, URL, client_id="notes", client_secret=Secret("a secret"))
        with pytest.raises(StoreUnavailable):
            await feed.read(None)


async def log_in(answer: httpx.MockTransport) -> None:
    client = AsyncKeyturnClient(URL, transport=answer)
    with pytest.raises(UnexpectedAnswer):
        await client.login("ada@example.com", "a passphrase of my own")
    await client.aclose()


async def log_in_synchronously(answer: httpx.MockTransport) -> None:
    with (
        KeyturnClient(URL, transport=answer) as client,
        pytest.raises(UnexpectedAnswer),
    ):
        client.login("ada@example.com", "a passphrase of my own")


async def look_up_password(answer: httpx.MockTransport) -> None:
    lookup = RangeLookup(URL)
    await lookup.aclose()
    lookup._transport = answer  # type: ignore[assignment]  # it has the same method
    assert not await lookup.contains(Secret("correct horse battery staple"))


Reader = Callable[[httpx.MockTransport], Awaitable[None]]

readers = pytest.mark.parametrize(
    "read", [read_key_set, read_feed, log_in, log_in_synchronously, look_up_password]
)


@readers
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP", "gzip, gzip", "br", "x-gzip"])
async def test_a_compressed_answer_cannot_fill_the_memory(read: Reader, encoding: str) -> None:
    content = bomb("deflate" if encoding == "deflate" else "gzip")
    if encoding == "gzip, gzip":
        content = gzip.compress(content)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["Accept-Encoding"])
        return httpx.Response(200, headers={"Content-Encoding": encoding}, stream=Body(content))

    tracemalloc.start()
    try:
        await read(httpx.MockTransport(answer))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < AFFORDABLE
    assert set(asked) == {"identity"}


@pytest.mark.parametrize("read", [read_key_set, log_in, log_in_synchronously, look_up_password])
async def test_an_endless_answer_cannot_fill_the_memory(read: Reader) -> None:
    bodies: list[Body] = []

    def answer(_: httpx.Request) -> httpx.Response:
        bodies.append(Body(None))
        return httpx.Response(200, stream=bodies[-1])

    await read(httpx.MockTransport(answer))
    assert bodies
    assert max(body.read for body in bodies) < 1024 * 1024


async def test_an_endless_feed_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyturn.adapters.revocation_feed.revocation_list.LARGEST_PAGE", 200_000)
    body = Body(None)
    await read_feed(httpx.MockTransport(lambda _: httpx.Response(200, stream=body)))
    assert body.read < 400_000


@pytest.mark.parametrize("status", [404, 500])
async def test_an_endless_refusal_of_the_feed_is_not_even_read(status: int) -> None:
    body = Body(None)
    await read_feed(httpx.MockTransport(lambda _: httpx.Response(status, stream=body)))
    assert body.read == 0


# --- entries in Redis that nobody can understand ---------------------------------------------------

DUE = str(int((START + timedelta(hours=1)).timestamp()) * 1_000_000)

MALFORMED: list[dict[str | bytes, str | bytes]] = [
    {"x": "y"},
    {"kind": "sid"},
    {"kind": "ghost", "subject": uuid4().hex, "epoch": "0", "expires_at": DUE},
    {"kind": "sid", "subject": "no uuid", "epoch": "0", "expires_at": DUE},
    {"kind": "sid", "subject": uuid4().hex, "epoch": "many", "expires_at": DUE},
    {"kind": "sid", "subject": uuid4().hex, "epoch": "0", "expires_at": "later"},
    {"kind": "sid", "subject": uuid4().hex, "epoch": "0", "expires_at": "9" * 40},
    {"kind": "sid", "subject": uuid4().hex, "epoch": "0", "expires_at": DUE * 5000},
    {"kind": "sid", "subject": uuid4().hex, "epoch": "0", "expires_at": DUE, "more": "1"},
    {b"kind": b"\xff\xfe", b"subject": b"\x00", b"epoch": b"\x80", b"expires_at": b"\xc3"},
]


@pytest.mark.parametrize("fields", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_malformed_entry_stops_neither_followers_nor_revocations(
    sqlite_url: str,
    redis_url: str,
    fields: dict[str | bytes, str | bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = f"keyturn-test:{uuid4()}"
    database, clock = Database(sqlite_url), ManualClock()
    feed = RedisRevocationList(redis_url, SqlRevocationList(database), clock, key=key)
    replica = RevocationReplica(feed, clock, timedelta(seconds=10))
    await replica.follow()
    before, instead, after = (make_family(make_user(), number) for number in range(3))

    async def revoke(session: object, *, seen: bool) -> None:
        async with SqlUnitOfWork(database, feed=feed if seen else None) as uow:
            uow.revocations.add_session(session.id, clock.now())  # type: ignore[attr-defined]
            await uow.commit()

    await revoke(before, seen=True)
    # In place of this entry the attacker puts something else into Redis.
    await revoke(instead, seen=False)
    async with Redis.from_url(redis_url) as redis:
        await redis.xadd(key, fields)  # type: ignore[arg-type]  # redis-py's types want floats
    await revoke(after, seen=True)
    with caplog.at_level(logging.WARNING, "keyturn.revocations"):
        await replica.follow()
    assert len(caplog.messages) == 1
    assert "malformed" in caplog.messages[0]
    for family in (before, instead, after):
        with pytest.raises(InvalidAccessToken):
            replica.check(make_claims(make_user(), family), clock.now())
    started_later = RevocationReplica(feed, clock, timedelta(seconds=10))
    await started_later.follow()
    assert len(started_later) == 3
    # What is due leaves the stream although a malformed entry, which stays, stands before it.
    clock.advance(timedelta(hours=2))
    await revoke(make_family(make_user(), 4), seen=True)
    async with Redis.from_url(redis_url) as redis:
        assert await redis.xlen(key) <= 3
    await feed.aclose()
    await database.dispose()


async def test_a_batch_of_malformed_entries_hides_nothing_behind_it(
    sqlite_url: str, redis_url: str
) -> None:
    key = f"keyturn-test:{uuid4()}"
    database, clock = Database(sqlite_url), ManualClock()
    feed = RedisRevocationList(redis_url, SqlRevocationList(database), clock, key=key)
    cursor = (await feed.read(None)).cursor
    async with Redis.from_url(redis_url) as redis, redis.pipeline() as pipeline:
        for _ in range(1_200):
            pipeline.xadd(key, {"x": "y"})  # type: ignore[unused-awaitable]  # it only queues
        await pipeline.execute()
    hidden = make_revocation()
    async with SqlUnitOfWork(database, feed=feed) as uow:
        stage_revocation(uow, hidden)
        await uow.commit()
    for after in (cursor, None):
        page = await feed.read(after)
        assert page.revocations == (hidden,)
        assert (await feed.read(page.cursor)).revocations == ()
    await feed.aclose()
    await database.dispose()


# --- tokens that are not valid yet (RFC 7519 §4.1.5) -----------------------------------------------


def token_with(**more: object) -> Secret:
    """Return a good access token with more claims."""
    issued = make_token(issued_at=START - timedelta(minutes=5), lifetime=timedelta(hours=1))
    claims = jwt.decode(issued, options={"verify_signature": False})
    headers = {"typ": "at+jwt", "kid": _key().kid}
    return Secret(jwt.encode(claims | more, _private_key(), algorithm="EdDSA", headers=headers))


async def verify(token: Secret, clock: ManualClock) -> None:
    await make_verifier(clock=clock).authenticate(token)


async def serve(token: Secret, clock: ManualClock) -> None:
    keys = KeyRing([_key()], _key().kid)
    codec = PyJwtCodec(keys, issuer=TEST_ISSUER)
    codec.decode_access(token, clock.now(), audiences=frozenset({TEST_AUDIENCE}))


both = pytest.mark.parametrize("accept", [verify, serve])


@both
@pytest.mark.parametrize("early", [timedelta(0), MAX_CLOCK_SKEW])
async def test_a_token_whose_time_has_come_is_good(
    accept: Callable[[Secret, ManualClock], Awaitable[None]], early: timedelta
) -> None:
    await accept(token_with(nbf=int((START + early).timestamp())), ManualClock())


@both
@pytest.mark.parametrize(
    "not_before",
    [
        int((START + MAX_CLOCK_SKEW).timestamp()) + 1,
        int((START + timedelta(minutes=30)).timestamp()),
        2**60,
        2**40,
        -1,
        float(START.timestamp()),
        True,
        None,
        str(int(START.timestamp())),
        [int(START.timestamp())],
    ],
)
async def test_an_attacker_gains_nothing_by_a_token_before_its_time(
    accept: Callable[[Secret, ManualClock], Awaitable[None]], not_before: object
) -> None:
    with pytest.raises(InvalidAccessToken):
        await accept(token_with(nbf=not_before), ManualClock())


def test_an_attacker_gains_nothing_by_a_remembered_token_after_the_clock_was_set_back() -> None:
    token = token_with(nbf=int(START.timestamp()))
    keys = keys_from_jwks(public_jwks())
    reader = PyJwtAccessTokenReader(keys, issuer=TEST_ISSUER)
    audiences = frozenset({TEST_AUDIENCE})
    reader.decode_access(token, START, audiences=audiences)
    with pytest.raises(InvalidAccessToken):
        reader.decode_access(
            token, START - MAX_CLOCK_SKEW - timedelta(seconds=1), audiences=audiences
        )
