"""Attackers who want a worker's memory, its connections or its time, and send no whole request."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

from keyturn.delivery.cli import limited_connection
from keyturn.delivery.cli.connection_limits import ConnectionLimits, ServerConfig
from keyturn.delivery.cli.limited_connection import LimitedConnection
from keyturn.delivery.cli.limited_h11 import LimitedH11
from keyturn.delivery.cli.limited_httptools import LimitedHttptools

LIMITS = ConnectionLimits(max_header_bytes=8192, keep_alive_timeout=60)
HOURS = 3600.0
SOON = 0.05
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
MEGABYTE = 1024 * 1024


class Application:
    """Answers 200 with the length of the body, and keeps what it was asked."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.reads = True
        self.answer_bytes = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        message: Message = {"more_body": self.reads}
        size = 0
        while message.get("more_body"):
            message = await receive()
            size += len(message.get("body", b""))
        await self.may_answer.wait()
        body = str(size).encode() + bytes(self.answer_bytes)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Server:
    """A server with limits in the loop of the test."""

    def __init__(self, protocol: type[LimitedConnection], limits: ConnectionLimits) -> None:
        self.app = Application()
        self.state = ServerState()
        self.config = ServerConfig(lambda: self.app, limits=limits, workers=1, logs=None)
        self.config.load()
        self._protocol = protocol
        self._clients: list[Client] = []
        self.port = 0

    def _connection(self) -> LimitedConnection:
        return self._protocol(self.config, self.state, {})  # type: ignore[call-arg] # uvicorn's

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Server"]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for client in self._clients:
                await client.close()
            for connection in {*self.state.connections, *self.config.lingering}:
                connection.transport.abort()  # type: ignore[union-attr] # all are of HTTP/1
            for task in list(self.state.tasks):
                task.cancel()
            await asyncio.gather(*self.state.tasks, return_exceptions=True)

    async def connect(self) -> "Client":
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *parts: bytes) -> None:
        """Send for as long as the server takes it."""
        with suppress(ConnectionError):
            for part in parts:
                self.writer.write(part)
                await self.writer.drain()

    async def answers(self) -> bytes:
        """Return all that the server sends until it closes the connection."""
        with suppress(ConnectionError):
            async with asyncio.timeout(60):
                return await self.reader.read()
        return b""

    async def answer(self) -> "Answer":
        return Answer(await self.answers())

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


class Answer:
    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        self.status = int(line.split(" ")[1]) if line else 0
        self.headers = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}

    def told(self) -> tuple[int, str]:
        """Return the status and the code of a problem, which the answer must be."""
        assert self.headers["content-type"] == "application/problem+json"
        assert self.headers["connection"] == "close"
        assert self.headers["cache-control"] == "no-store"
        problem = json.loads(self.body)
        assert problem["request_id"] == self.headers["x-request-id"]
        assert problem["status"] == self.status
        return self.status, problem["code"]


Serve = Callable[..., Awaitable[Server]]


@pytest.fixture(params=[LimitedHttptools, LimitedH11], ids=["httptools", "h11"])
def protocol(request: pytest.FixtureRequest) -> type[LimitedConnection]:
    """The connection as each parser reads it."""
    found: type[LimitedConnection] = request.param
    return found


@pytest.fixture
async def serve(
    protocol: type[LimitedConnection], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Serve]:
    """Serves with these limits, and looks at deadlines all the time."""
    monkeypatch.setattr(limited_connection, "WATCH_SECONDS", 0.01)
    listening = []

    async def serve(**limits: Any) -> Server:
        entered = Server(protocol, replace(LIMITS, **limits)).listening()
        listening.append(entered)
        return await entered.__aenter__()

    yield serve
    for entered in listening:
        await entered.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("request_bytes", "told"),
    [
        ([b"GET /", *[b"a" * MEGABYTE] * 64], (414, "url_too_long")),
        ([b"GET /", *[b"a" * 10] * 1200], (414, "url_too_long")),
        ([GET + b"X: ", *[b"a" * MEGABYTE] * 64], (431, "headers_too_large")),
        ([GET, *[b"X: " + b"a" * 1000 + b"\r\n"] * 10000], (431, "headers_too_large")),
    ],
    ids=["endless-url", "url-in-drops", "endless-header", "many-headers"],
)
async def test_an_attacker_cannot_fill_the_memory_with_a_request_that_never_begins(
    serve: Serve, request_bytes: list[bytes], told: tuple[int, str]
) -> None:
    server = await serve()
    client = await server.connect()
    sending = asyncio.create_task(client.send(*request_bytes))
    assert (await client.answer()).told() == told
    await sending
    assert server.app.scopes == []


@pytest.mark.parametrize("protocol", [LimitedHttptools])
async def test_an_attacker_cannot_fill_the_memory_with_empty_headers(serve: Serve) -> None:
    server = await serve(header_timeout=HOURS)
    client = await server.connect()
    await client.send(GET + b"a:\r\n" * 1000)
    assert (await client.answer()).told() == (431, "headers_too_large")


async def test_an_attacker_cannot_fill_the_memory_with_a_method(serve: Serve) -> None:
    server = await serve()
    client = await server.connect()
    await client.send(b"G" * MEGABYTE)
    assert (await client.answer()).status in {400, 414, 431}


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 8192), (414, "url_too_long")),
        (GET + b"X: %s\r\n\r\n" % (b"a" * 8192), (431, "headers_too_large")),
        (GET + b"a:\r\n" * 200 + b"\r\n", (431, "headers_too_large")),
    ],
)
async def test_an_attacker_gains_nothing_by_sending_a_large_head_whole(
    serve: Serve, head: bytes, told: tuple[int, str]
) -> None:
    server = await serve()
    client = await server.connect()
    await client.send(head)
    assert (await client.answer()).told() == told
    assert server.app.scopes == []


async def test_a_head_that_is_just_small_enough_is_served(serve: Serve) -> None:
    server = await serve()
    client = await server.connect()
    await client.send(GET + b"X: %s\r\nConnection: close\r\n\r\n" % (b"a" * 8000))
    assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    "parts",
    [
        [b"1;" + b"a" * MEGABYTE, *[b"a" * MEGABYTE] * 32],
        [b"1;" + b"a" * 3000 + b"\r\nx\r\n"] * 4000,
        [b"0\r\nX: ", *[b"a" * MEGABYTE] * 32],
        [b"0\r\n", *[b"X: " + b"a" * 1000 + b"\r\n"] * 4000],
    ],
    ids=["extension", "extensions", "trailer", "trailers"],
)
async def test_an_attacker_cannot_hide_bytes_between_the_chunks_of_a_body(
    serve: Serve, parts: list[bytes]
) -> None:
    server = await serve()
    client = await server.connect()
    sending = asyncio.create_task(client.send(CHUNKED, *parts))
    assert (await client.answer()).status in {400, 431}
    await sending


async def test_an_attacker_cannot_add_a_header_behind_a_proxy_by_a_trailer(serve: Serve) -> None:
    server = await serve()
    client = await server.connect()
    await client.send(
        POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n",
    )
    assert (await client.answer()).status == 200
    assert "x-forwarded-for" not in {name.decode() for name, _ in server.app.scopes[0]["headers"]}


@pytest.mark.parametrize(
    "begun",
    [b"G", GET, GET + b"X: ", POST + b"Content-Length: 9\r\n\r\nx", CHUNKED + b"5\r\n"],
    ids=["method", "headers", "header", "body", "chunk"],
)
async def test_an_attacker_cannot_keep_a_connection_with_half_a_request(
    serve: Serve, begun: bytes
) -> None:
    server = await serve(header_timeout=SOON, body_timeout=SOON)
    client = await server.connect()
    await client.send(begun)
    assert (await client.answer()).told() == (408, "request_timeout")


async def test_an_attacker_cannot_keep_a_connection_by_a_byte_now_and_then(serve: Serve) -> None:
    server = await serve(header_timeout=SOON, body_timeout=HOURS)
    client = await server.connect()

    async def drip() -> None:
        await client.send(GET + b"X: ")
        while True:
            await client.send(b"a")
            await asyncio.sleep(0)

    dripping = asyncio.create_task(drip())
    answer = await client.answer()
    dripping.cancel()
    assert answer.told()[0] in {408, 431}


async def test_an_attacker_cannot_keep_a_connection_with_blank_lines(serve: Serve) -> None:
    server = await serve(header_timeout=SOON)
    client = await server.connect()
    await client.send(GET + b"\r\n")
    assert (await client.reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
    await client.send(b"\r\n")
    # h11 takes no blank line there.
    assert (await client.answer()).told()[0] in {400, 408}


async def test_an_attacker_cannot_keep_a_connection_and_say_nothing(serve: Serve) -> None:
    server = await serve(header_timeout=SOON)
    client = await server.connect()
    assert await client.answers() == b""


async def test_an_attacker_cannot_keep_a_connection_after_an_answer(serve: Serve) -> None:
    server = await serve(keep_alive_timeout=SOON)
    client = await server.connect()
    await client.send(GET + b"\r\n")
    assert (await client.answer()).status == 200


async def test_an_attacker_cannot_keep_a_body_going_that_the_application_does_not_read(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve(body_timeout=SOON)
    server.app.reads = False
    server.app.may_answer.clear()
    client = await server.connect()
    await client.send(POST + b"Content-Length: 100000\r\n\r\n" + bytes(90000))
    assert (await client.answer()).told() == (408, "request_timeout")
    # What the application says afterwards is no error, and nobody gets it.
    server.app.may_answer.set()
    await until(lambda: not server.state.tasks)
    assert "Exception in ASGI application" not in caplog.text


async def test_an_attacker_cannot_keep_a_body_going_after_its_answer(serve: Serve) -> None:
    server = await serve(body_timeout=SOON)
    server.app.reads = False
    client = await server.connect()
    await client.send(CHUNKED + b"1\r\nx\r\n")
    assert (await client.answer()).status == 200


async def test_an_attacker_cannot_take_more_connections_than_a_worker_has(serve: Serve) -> None:
    server = await serve(max_connections=2)
    held = [await server.connect() for _ in range(2)]
    for client in held:
        await client.send(GET + b"\r\n")
        await client.reader.readuntil(b"\r\n\r\n0")
    refused = await (await server.connect()).answer()
    assert refused.told() == (503, "too_many_connections")
    assert int(refused.headers["retry-after"]) > 0
    # Those that are refused take nobody's place either.
    for _ in range(5):
        assert (await (await server.connect()).answers()).startswith(b"HTTP/1.1 503")
    assert len(server.config.lingering) <= 2
    await held[0].close()
    await until(lambda: len(server.state.connections) < 2)
    served = await server.connect()
    await served.send(GET + b"Connection: close\r\n\r\n")
    assert (await served.answer()).status == 200


async def test_an_attacker_cannot_queue_any_number_of_requests_on_one_connection(
    serve: Serve,
) -> None:
    server = await serve()
    server.app.may_answer.clear()
    client = await server.connect()
    sending = asyncio.create_task(client.send(*[(GET + b"\r\n") * 100] * 100))
    await until(lambda: bool(server.app.scopes))
    server.app.may_answer.set()
    answers = await client.answers()
    await sending
    told = answers.count(b"HTTP/1.1 ")
    assert 1 <= told <= 8192 / len(GET)
    assert told == answers.count(b"HTTP/1.1 200")


async def test_an_attacker_cannot_answer_for_the_server_with_a_bad_request_in_a_pipeline(
    serve: Serve,
) -> None:
    server = await serve()
    server.app.may_answer.clear()
    client = await server.connect()
    await client.send(GET + b"\r\nGET / HTTP/1.1\r\n\r\n")
    await until(lambda: bool(server.app.scopes))
    server.app.may_answer.set()
    answers = await client.answers()
    # The one to the first request is the first; whether the second is answered is free.
    assert answers.startswith(b"HTTP/1.1 200")


async def test_an_attacker_cannot_keep_a_connection_by_never_reading_the_answer(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_connection, "SEND_SECONDS", SOON)
    server = await serve()
    server.app.answer_bytes = 32 * MEGABYTE
    client = await server.connect()
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.reader._transport.pause_reading()  # type: ignore[attr-defined] # no public way
    await client.send(GET + b"Connection: close\r\n\r\n")
    await until(lambda: bool(server.app.scopes))
    await until(lambda: not server.state.connections and not server.state.tasks)
    await client.close()


async def test_an_attacker_cannot_keep_a_connection_that_was_refused(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_connection, "LINGER_SECONDS", SOON)
    server = await serve()
    client = await server.connect()
    await client.send(b"nonsense\r\n\r\n")
    assert (await client.answer()).told() == (400, "malformed_request")
    await until(lambda: not server.config.lingering)


async def test_an_attacker_cannot_keep_a_connection_by_asking_for_another_protocol(
    serve: Serve,
) -> None:
    server = await serve()
    client = await server.connect()
    await client.send(GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert (await client.reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
    await client.send(GET + b"Connection: close\r\n\r\n")
    # httptools reads no more, so the connection ends; h11 goes on.
    answers = await client.answers()
    assert answers == b"" or answers.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nConnection: close\r\nHost: auth.example.com:443\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nConnection: close\r\nHost: [::1]:8000\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
    ],
)
async def test_an_attacker_cannot_confuse_a_proxy_and_the_service_about_the_host(
    serve: Serve, head: bytes, status: int
) -> None:
    server = await serve()
    client = await server.connect()
    await client.send(head)
    answer = await client.answer()
    assert answer.status == status
    if status == 400:
        assert answer.told()[1] in {"invalid_host", "malformed_request"}
        assert server.app.scopes == []


def test_every_worker_of_the_service_holds_to_its_limits(
    serving: Callable[..., AbstractContextManager[str]], environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KEYTURN_MAX_HEADER_BYTES", "8192")
    environment.setenv("KEYTURN_HEADER_TIMEOUT", "1")
    with serving("--workers", "2") as banner:
        found = re.search(r"keyturn is at http://([^:]+):(\d+)", banner)
        assert found
        address = (found[1], int(found[2]))
        attempts = {
            GET + b"X: %s\r\n\r\n" % (b"a" * 10000): (431, "headers_too_large"),
            b"GET / HTTP/1.1\r\n\r\n": (400, "invalid_host"),
            GET: (408, "request_timeout"),
        }
        for sent, told in attempts.items():
            # So many that either worker gets some.
            connections = [socket.create_connection(address, timeout=60) for _ in range(8)]
            for connection in connections:
                connection.sendall(sent)
            for connection in connections:
                with connection, connection.makefile("rb") as answer:
                    assert Answer(answer.read()).told() == told


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
