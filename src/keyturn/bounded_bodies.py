"""Bodies of HTTP answers, read up to a bound on their size in memory.

Whoever answers may be hostile. A compressed body of 100 KB can inflate to 100 MB, so compressed
bodies are rejected: a request must ask for none by the headers in `UNCOMPRESSED`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import httpx

UNCOMPRESSED: Final[Mapping[str, str]] = MappingProxyType({"Accept-Encoding": "identity"})
"""Headers of a request whose answer is read here (RFC 9110 §12.5.3)."""


class UnacceptableBody(ValueError):
    """The body is larger than the bound, or compressed."""


async def read_bounded(answer: httpx.Response, limit: int) -> bytes:
    """Return the body of an answer that is being streamed by an asynchronous client.

    Args:
        answer: an answer whose body has not been read.
        limit: bytes that the body may have; at most one chunk more is read.

    Raises:
        UnacceptableBody: the body is larger, or compressed.
        httpx.HTTPError: the body can't be read.
    """
    _require_uncompressed(answer)
    if answer.is_stream_consumed:
        return _held(answer, limit)
    body = bytearray()
    async for chunk in answer.aiter_raw():
        _extend(body, chunk, limit)
    return bytes(body)


def read_bounded_sync(answer: httpx.Response, limit: int) -> bytes:
    """Return the body of an answer that is being streamed by a synchronous client.

    Arguments and errors are those of `read_bounded`.
    """
    _require_uncompressed(answer)
    if answer.is_stream_consumed:
        return _held(answer, limit)
    body = bytearray()
    for chunk in answer.iter_raw():
        _extend(body, chunk, limit)
    return bytes(body)


def _require_uncompressed(answer: httpx.Response) -> None:
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in {"", "identity"}:
        raise UnacceptableBody("the body is compressed although the request asked for none")


def _held(answer: httpx.Response, limit: int) -> bytes:
    # A transport for tests may answer with a body that it holds in memory.
    body = bytearray()
    _extend(body, answer.content, limit)
    return bytes(body)


def _extend(body: bytearray, chunk: bytes, limit: int) -> None:
    if len(body) + len(chunk) > limit:
        raise UnacceptableBody(f"the body is larger than {limit} bytes")
    body += chunk
