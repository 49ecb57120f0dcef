"""A look-up at a real server that speaks the range protocol, and at some that do not."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from keyturn.adapters.range_lookup.breached_passwords import LARGEST_ANSWER, RangeLookup
from keyturn.domain.secret import Secret

BREACHED = Secret("correct horse battery staple")
OTHER = Secret("nine purple anvils")
DIGITS = hashlib.sha1(BREACHED.reveal().encode(), usedforsecurity=False).hexdigest().upper()
PREFIX, REST = DIGITS[:5], DIGITS[5:]
LONG = timedelta(seconds=60)

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class RangeServer:
    """An HTTP server that notes what it is asked, and answers as a test says."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answers = ok(f"{'0' * 35}:3\r\n{REST}:42\r\n{'F' * 35}:1".encode())
        self.url = ""
        self._open: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/range/"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.decode().split("\r\n"))
        try:
            await self.answers(writer)
        except ConnectionError:
            return
        writer.close()


def ok(body: bytes, status: str = "200 OK", more: str = "") -> Answer:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    return raw(head.encode() + body)


def raw(data: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


async def never(writer: asyncio.StreamWriter) -> None:
    await writer.wait_closed()


async def without_end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(f"{'0' * 35}:1\r\n".encode() * 1000)
        await writer.drain()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What an operator is told."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
async def server() -> AsyncIterator[RangeServer]:
    server = RangeServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def lookup(server: RangeServer) -> AsyncIterator[RangeLookup]:
    lookup = RangeLookup(server.url, timeout=LONG)
    yield lookup
    await lookup.aclose()


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


async def test_a_listed_password_is_breached_and_another_is_not(
    lookup: RangeLookup, caplog: pytest.LogCaptureFixture
) -> None:
    assert await lookup.contains(BREACHED) is True
    assert await lookup.contains(OTHER) is False
    assert warnings(caplog) == []


async def test_the_service_is_told_five_digits_and_to_pad_its_answer(
    server: RangeServer, lookup: RangeLookup
) -> None:
    await lookup.contains(BREACHED)
    [(request, *headers)] = server.asked
    assert request == f"GET /range/{PREFIX} HTTP/1.1"
    assert "add-padding: true" in [header.lower() for header in headers]
    assert REST not in str(server.asked)


async def test_a_line_that_pads_the_answer_lists_nothing(
    server: RangeServer, lookup: RangeLookup
) -> None:
    server.answers = ok(f"{REST}:0\r\n".encode())
    assert await lookup.contains(BREACHED) is False


async def test_small_letters_and_other_line_ends_are_read(
    server: RangeServer, lookup: RangeLookup
) -> None:
    server.answers = ok(f"{REST.lower()}:7\n".encode())
    assert await lookup.contains(BREACHED) is True


async def test_an_empty_range_lists_nothing(
    server: RangeServer, lookup: RangeLookup, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = ok(b"")
    assert await lookup.contains(BREACHED) is False
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (ok(b"", "503 Service Unavailable"), "the service answered 503"),
        (ok(b"", "429 Too Many Requests"), "the service answered 429"),
        (
            ok(f"{REST}:9".encode(), "302 Found", "Location: /elsewhere\r\n"),
            "the service answered 302",
        ),
        (ok(b"<html>Log in to the Wi-Fi</html>"), "the answer is no list of digests"),
        (ok(f"{REST}:many".encode()), "the answer is no list of digests"),
        (ok(f"{REST}:{'9' * 5000}".encode()), "the answer is no list of digests"),
        (ok(b"\xff\x00" * 100), "the answer is no list of digests"),
        (ok(b" " * (LARGEST_ANSWER + 1)), "the answer is too long"),
        (without_end, "the answer is too long"),
        (raw(b"SSH-2.0-OpenSSH\r\n"), "RemoteProtocolError"),
        (raw(b""), "RemoteProtocolError"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n0"), "RemoteProtocolError"),
    ],
)
async def test_a_service_that_answers_something_else_lets_every_password_pass_with_one_line(
    server: RangeServer,
    lookup: RangeLookup,
    caplog: pytest.LogCaptureFixture,
    answers: Answer,
    reason: str,
) -> None:
    server.answers = answers
    assert await lookup.contains(BREACHED) is False
    assert warnings(caplog) == [f"breached passwords can't be looked up, any passes: {reason}"]
    assert len(server.asked) == 1


async def test_a_service_that_never_answers_is_not_waited_for(
    server: RangeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = never
    lookup = RangeLookup(server.url, timeout=timedelta(milliseconds=50))
    assert await lookup.contains(BREACHED) is False
    assert len(warnings(caplog)) == 1
    assert "Timeout" in warnings(caplog)[0]
    await lookup.aclose()


async def test_a_service_that_is_not_there_lets_every_password_pass(
    server: RangeServer, caplog: pytest.LogCaptureFixture
) -> None:
    await server.stop()
    lookup = RangeLookup(server.url, timeout=LONG)
    assert await lookup.contains(BREACHED) is False
    assert [line.rpartition(" ")[2] for line in warnings(caplog)] == ["ConnectError"]
    await lookup.aclose()


async def test_neither_the_password_nor_a_part_of_its_digest_is_logged(
    server: RangeServer, lookup: RangeLookup, caplog: pytest.LogCaptureFixture
) -> None:
    for answers in (server.answers, ok(b"x"), raw(b""), ok(b"", "503 No")):
        server.answers = answers
        await lookup.contains(BREACHED)
    assert len(server.asked) == 4
    told = caplog.text + repr([record.__dict__ for record in caplog.records])
    for secret in (BREACHED.reveal(), PREFIX, PREFIX.lower(), REST):
        assert secret not in told


async def test_a_question_that_nobody_waits_for_any_more_ends(
    server: RangeServer, lookup: RangeLookup
) -> None:
    asked = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await never(writer)

    server.answers = hold
    question = asyncio.create_task(lookup.contains(BREACHED))
    await asked.wait()
    question.cancel()
    await asyncio.wait({question})
    assert question.cancelled()
    server.answers = ok(f"{REST}:1".encode())
    assert await lookup.contains(BREACHED) is True


@pytest.mark.parametrize("url", ["", "hunter2", "ftp://hunter2/", "http://"])
def test_a_url_that_is_none_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with https://") as refused:
        RangeLookup(url)
    assert "hunter2" not in str(refused.value)
