"""Bounds what one connection costs a worker, whichever parser reads it.

uvicorn reads URLs and headers of any length, waits for the rest of a request for ever, and keeps a
connection whose client never reads its answer. The class here counts bytes before they reach the
parser and sets a deadline for each part of a request.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from keyturn.delivery.cli.connection_limits import ServerConfig
from keyturn.delivery.http.error_answers import error_answer
from keyturn.delivery.http.errors import (
    HeadersTooLarge,
    InvalidHost,
    MalformedRequest,
    RequestTimedOut,
    TooManyConnections,
    UrlTooLong,
)
from keyturn.delivery.http.request_ids import request_id
from keyturn.domain.errors import KeyturnError

SLICE_BYTES = 4096
"""The parser gets at most this much at once, so that a limit is exceeded by no more than that."""

MAX_HEADER_FIELDS = 100
"""Fields of one request: thousands of empty ones fit into the bytes, and each is an object."""

MAX_PIPELINED = 16
"""Requests that wait for the answer to the one before. No browser sends any."""

FRAMING_BYTES_PER_BODY_BYTE = 16
"""What chunked framing may cost beside the header limit: a chunk of one byte takes 6."""

WATCH_SECONDS = 1.0
"""How often deadlines are looked at."""

SEND_SECONDS = 30.0
"""How long a client may leave an answer unread."""

SEND_PROGRESS_BYTES = 16384
"""Bytes that a client must read in `SEND_SECONDS`."""

LINGER_SECONDS = 2.0
"""How long a refused client may read its answer. Closing at once would reset the connection while
the client still sends, and the answer would be lost."""

LINGER_BYTES = 1024 * 1024
"""Bytes that are read and discarded meanwhile."""

# RFC 9112 §3.2 with RFC 3986 §3.2.2. No comma: it is how proxies join repeated fields.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+;=-]+|\[[0-9A-Fa-fvV.:]+\])(?::[0-9]*)?")

_log = logging.getLogger("keyturn.http")


class ConnectionRefused(Exception):
    """Stops the parser; the error to answer with is kept in the connection."""


class LimitedConnection(asyncio.Protocol):
    """Counts, times and refuses; mixed into the protocol class of one of uvicorn's parsers.

    The parser's class calls `_require_head`, `_head_ended`, `_body_received` and `_message_ended`,
    and lets uvicorn's `send_400_response` end in `_refuse_request`.

    What is refused is answered as a problem (RFC 9457), then closed. A request that is refused
    while earlier ones of its connection are unanswered is not answered: the last of them closes
    the connection.
    """

    # uvicorn's, the same in both of its protocol classes.
    config: Config
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: FlowControl
    server_state: ServerState
    headers: list[tuple[bytes, bytes]]
    cycle: Any  # one class for each parser, without a common parent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count; refuse the connection where the worker has enough of them."""
        if not isinstance(self.config, ServerConfig):
            raise TypeError("this protocol needs the limits of a ServerConfig")
        limits = self._limits = self.config.limits
        self._lingering = self.config.lingering
        self._in_body = False
        self._heads = 0
        self._head_bytes = 0
        self._piece_bytes = 0
        self._body_bytes = 0
        self._framing_bytes = 0
        self._deadline: float | None = self.loop.time() + limits.header_timeout
        self._good_host: bytes | None = None
        self._failure: KeyturnError | None = None
        self._stopped = False
        self._discarded = 0
        self._abort_at: float | None = None
        self._unread = 0
        self._unread_since: float | None = None
        super().connection_made(transport)
        self._watching = self.loop.call_later(WATCH_SECONDS, self._watch)
        if len(self.server_state.connections) > limits.max_connections:
            self._refuse(TooManyConnections())

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._watching.cancel()
        self._lingering.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand the bytes to the parser as far as the limits allow."""
        heads = self._heads
        size = len(data)
        if size <= SLICE_BYTES and not self._stopped:
            self._parse(data)
        else:
            for start in range(0, size, SLICE_BYTES):
                if self._stopped:
                    self._discard(size - start)
                    return
                self._parse(data[start : start + SLICE_BYTES])
        if self._heads != heads and not self._in_body:
            # The request is whole: it is the app's turn.
            return
        if self._deadline is not None or self._stopped:
            return
        if self._in_body:
            self._deadline = self.loop.time() + self._limits.body_timeout
        elif self._head_bytes or not self._is_answering:
            self._deadline = self.loop.time() + self._limits.header_timeout

    def resume_writing(self) -> None:
        """Note that the client reads."""
        self._unread_since = None
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Leave when the last request is answered that was read before one was refused."""
        if self._stopped and not self._is_answering:
            self.server_state.total_requests += 1
            self._leave(b"")
        else:
            super().on_response_complete()  # type: ignore[misc] # of the other parent

    def _parse(self, piece: bytes) -> None:
        heads, was_in_body, body_bytes = self._heads, self._in_body, self._body_bytes
        self._piece_bytes = len(piece)
        super().data_received(piece)
        if self._stopped or self._heads != heads:
            return
        if not was_in_body:
            self._head_bytes += len(piece)
            if self._head_bytes > self._limits.max_header_bytes:
                self._refuse(self._head_too_large())
            elif self.headers and len(self.headers) > MAX_HEADER_FIELDS:
                self._refuse(HeadersTooLarge())
        elif self._in_body:
            self.headers = []
            self._framing_bytes += len(piece) - (self._body_bytes - body_bytes)
            allowed = FRAMING_BYTES_PER_BODY_BYTE * self._body_bytes
            if self._framing_bytes > self._limits.max_header_bytes + allowed:
                self._refuse(HeadersTooLarge())

    def _require_head(self, url_bytes: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Look at a whole head before the app sees it.

        Args:
            headers: names in lower case.

        Raises:
            ConnectionRefused: the request is to be refused.
        """
        limit = self._limits.max_header_bytes
        # What was read is an upper bound; it may hold the end of the request before.
        if self._head_bytes + self._piece_bytes > limit:
            size = url_bytes + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > limit:
                self._fail(UrlTooLong() if url_bytes * 2 > size else HeadersTooLarge())
        if len(headers) > MAX_HEADER_FIELDS:
            self._fail(HeadersTooLarge())
        host: bytes | None = None
        for name, value in headers:
            if name == b"host":
                if host is not None:
                    self._fail(InvalidHost())
                if value != self._good_host and not _HOST.fullmatch(value):
                    self._fail(InvalidHost())
                host = self._good_host = value
        # HTTP/1.0 knows no Host (RFC 9112 §3.2); health checks of load balancers leave it out.
        if host is None and self._http_version != "1.0":
            self._fail(InvalidHost())

    def _fail(self, error: KeyturnError) -> None:
        self._failure = error
        raise ConnectionRefused

    def _head_ended(self) -> None:
        # From here on uvicorn would add trailers to the headers that the app has, which lets a
        # client add a header behind the proxy that sets it (RFC 9110 §6.5.1).
        self.headers = []
        self._heads += 1
        self._head_bytes = self._body_bytes = self._framing_bytes = 0
        self._in_body = True
        self._deadline = None

    def _body_received(self, size: int) -> None:
        self._body_bytes += size

    def _message_ended(self) -> None:
        self._in_body = False
        self._deadline = None

    def _refuse_request(self) -> None:
        self._refuse(self._failure or MalformedRequest())

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _http_version(self) -> str:
        """The version of a head that has just ended."""
        raise NotImplementedError

    @property
    def _url_bytes(self) -> int:
        """The bytes of the URL of a head that is not over yet."""
        raise NotImplementedError

    @property
    def _waits_for_others(self) -> bool:
        """Whether the newest request has not begun, because earlier ones are unanswered."""
        return False

    def _unset_keepalive_if_required(self) -> None:
        # As uvicorn has it; declared here for the type checker.
        super()._unset_keepalive_if_required()  # type: ignore[misc] # of the other parent

    def _head_too_large(self) -> KeyturnError:
        return UrlTooLong() if self._url_bytes * 2 > self._head_bytes else HeadersTooLarge()

    def _refuse(self, error: KeyturnError) -> None:
        self._stopped = True
        self._deadline = None
        self._unset_keepalive_if_required()
        _log.info("a connection was refused: %s", error.code)
        cycle = self.cycle
        if not self._is_answering:
            # Without an answer where the request has had one, such as 413, and its body goes on.
            self._leave(b"" if self._in_body else self._answer(error))
        elif not self._in_body:
            # An answer now would be taken for the one to an earlier request.
            pass
        elif cycle.response_started or self._waits_for_others:
            self.transport.abort()
        else:
            # The app that waits for the body learns that the client is gone, and says no more.
            cycle.disconnected = True
            cycle.message_event.set()
            self._leave(self._answer(error))

    def _answer(self, error: KeyturnError) -> bytes:
        scope: Scope = {"type": "http", "path": "/", "headers": []}
        response = error_answer(scope, error)
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            (b"x-request-id", request_id(scope).encode("ascii")),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        status = HTTPStatus(response.status_code)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode("ascii")]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join([*lines, b"", bytes(response.body)])

    def _leave(self, answer: bytes) -> None:
        """Answer, then close once the client has had time to read it."""
        if answer:
            self.transport.write(answer)
        self.server_state.connections.discard(self)
        if (
            len(self._lingering) >= self._limits.max_connections
            or not self.transport.can_write_eof()
        ):
            self.transport.close()
            return
        self._lingering.add(self)
        self.transport.write_eof()
        self.flow.resume_reading()
        self._abort_at = self.loop.time() + LINGER_SECONDS

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self.transport.abort()

    def _watch(self) -> None:
        """Look at all deadlines: one timer for each connection instead of one for each request."""
        now = self.loop.time()
        self._watching = self.loop.call_later(WATCH_SECONDS, self._watch)
        if self._abort_at is not None and now >= self._abort_at:
            self.transport.abort()
        elif self._deadline is not None and now >= self._deadline:
            self._deadline = None
            if self._in_body or self._head_bytes:
                self._refuse(RequestTimedOut())
            elif not self._is_answering:
                # Nothing was asked, so nothing is answered.
                self.transport.close()
        unread = self.transport.get_write_buffer_size()
        if not unread:
            self._unread_since = None
        elif self._unread_since is None or unread <= self._unread - SEND_PROGRESS_BYTES:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since >= SEND_SECONDS:
            self.transport.abort()
