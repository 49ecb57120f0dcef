"""The load generator asks what it is told to, and takes no error for an answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.load import Chain, Job, Load, Outcome, percentile_ms

Answer = Callable[[bytes], bytes]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[int]:
    """Answer each request, as the bytes that came, until the block ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                _, _, length = head.lower().partition(b"content-length: ")
                body = await reader.readexactly(int(length.split()[0])) if length else b""
                answered = answer(head + body)
                writer.write(answered)
                if b"close" in answered:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def response(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"", body]
    return b"\r\n".join(lines)


async def outcome_of(job: Job) -> Outcome:
    running: Coroutine[Any, Any, Outcome] = Load(job).run()
    return await asyncio.wait_for(running, 60)


def job_of(port: int, requests: list[str], **more: Any) -> Job:
    return Job("127.0.0.1", port, 2, None, warm_up=0, requests=requests, **more)


def requests_for(*paths: str) -> list[str]:
    return [f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n" for path in paths]


async def test_each_request_of_a_list_is_sent_once_after_the_warm_up() -> None:
    seen = []

    def answer(request: bytes) -> bytes:
        seen.append(request.split()[1])
        return response(b"")

    async with answering(answer) as port:
        outcome = await outcome_of(job_of(port, requests_for(*(f"/{n}" for n in range(20)))))
    assert {f"/{n}".encode() for n in range(20)} <= set(seen)
    assert outcome.bad == {}
    assert len(outcome.latencies) >= 20


async def test_an_error_is_counted_as_none_of_the_answers() -> None:
    def answer(_: bytes) -> bytes:
        return response(b"no", status=b"401 Unauthorized")

    async with answering(answer) as port:
        outcome = await outcome_of(job_of(port, requests_for("/a", "/b")))
    assert outcome.latencies == []
    assert outcome.bad["401"] >= 2
    assert "no" in outcome.first_bad[0]


async def test_a_chain_presents_the_token_of_the_answer_before() -> None:
    presented: list[int] = []

    def answer(request: bytes) -> bytes:
        token = int(json.loads(request.partition(b"\r\n\r\n")[2])["refresh_token"])
        presented.append(token)
        return response(b'{"other":1,"refresh_token": "%d"}' % (token + 1))

    chain = Chain(
        head="POST /refresh HTTP/1.1\r\nHost: here",
        before='{"refresh_token": "',
        after='"}',
        member="refresh_token",
        tokens=[["0"]],
    )
    async with answering(answer) as port:
        job = Job("127.0.0.1", port, 1, seconds=0.1, warm_up=0, chain=chain)
        outcome = await outcome_of(job)
    assert presented == list(range(len(presented)))
    assert outcome.tokens == [[str(len(presented))]]
    assert outcome.bad == {}


async def test_a_server_that_closes_each_connection_is_asked_again() -> None:
    def answer(_: bytes) -> bytes:
        return response(b"", b"Connection: close")

    async with answering(answer) as port:
        outcome = await outcome_of(job_of(port, requests_for("/a", "/b", "/c", "/d")))
    assert outcome.bad == {}
    assert len(outcome.latencies) >= 4


async def test_an_answer_in_chunks_is_taken_when_it_is_whole() -> None:
    def answer(_: bytes) -> bytes:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return head + b"2\r\nab\r\n0\r\n\r\n"

    async with answering(answer) as port:
        outcome = await outcome_of(job_of(port, requests_for("/a", "/b")))
    assert outcome.bad == {}
    assert len(outcome.latencies) >= 2


def test_a_percentile_is_a_latency_that_was_seen() -> None:
    hundred = [n / 1000 for n in range(1, 101)]
    assert percentile_ms(hundred, 0.5) == 50
    assert percentile_ms(hundred, 0.99) == 99
    assert percentile_ms(hundred, 1.0) == 100
    assert percentile_ms([0.002], 0.99) == 2
    assert percentile_ms([], 0.99) is None


def test_a_job_is_read_as_it_was_written() -> None:
    chain = Chain("POST / HTTP/1.1", "{", "}", "token", [["a"], ["b"]])
    job = Job("127.0.0.1", 1, 2, seconds=1.5, chain=chain, pace=50, cores=[0])
    assert Job.read(job.to_json()) == job
