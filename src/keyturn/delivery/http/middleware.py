"""What happens around every request, in plain ASGI: ids, default headers, limits, last resort."""

import logging
from collections.abc import Sequence
from time import perf_counter

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from keyturn.delivery.http.error_answers import error_answer
from keyturn.delivery.http.errors import BodyTooLarge, InternalError
from keyturn.delivery.http.observation import RequestObserver, finished_request
from keyturn.delivery.http.request_ids import FROM_TRUSTED_PROXY, request_id

_log = logging.getLogger("keyturn.http")

_STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_REPLACEABLE_HEADERS = (
    (b"cache-control", b"no-store"),
    # A page that shows something has a policy of its own.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""What a response gets that does not have such a header by itself."""

_READ_TO_THROW_AWAY = 16 * 1024 * 1024
"""Bytes of a refused body that the server reads on: to a client that is still sending, a closed
connection is an error, and the answer may be lost."""


CLIENT_GONE = 499
"""Stands for the status where the client left before there was one, as nginx has it."""

_STATUS = "keyturn.status"


def security_headers(*, https: bool) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers that every response has (OWASP ASVS 5.0 V3.4).

    Args:
        https: whether clients reach the service by https, so that browsers must never use http.
    """
    return (*_SECURITY_HEADERS, _STRICT_TRANSPORT) if https else _SECURITY_HEADERS


def answer_headers(*, https: bool) -> tuple[tuple[bytes, bytes], ...]:
    """Return all headers of a response that shows nothing and that no middleware handles."""
    return (*security_headers(https=https), *_REPLACEABLE_HEADERS)


class TrustedProxyMiddleware:
    """Takes address and scheme from trusted proxies, and notes which requests they sent."""

    def __init__(self, app: ASGIApp, trusted_hosts: list[str]) -> None:
        """Believe the `X-Forwarded-*` headers of these addresses and networks."""
        self._proxy_headers = ProxyHeadersMiddleware(app, trusted_hosts)  # type: ignore[arg-type] # uvicorn has types of its own for ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note who sent the request, before its client takes the place of the proxy."""
        client = scope.get("client")
        if client and client[0] in self._proxy_headers.trusted_hosts:
            scope[FROM_TRUSTED_PROXY] = True
        await self._proxy_headers(scope, receive, send)  # type: ignore[arg-type] # as above


class RequestMiddleware:
    """Names the request in every answer, keeps caches and content sniffing away, and observes.

    An answer that says nothing about caching is `no-store`: most of them hold a token or speak of
    one person (RFC 6749 §5.1, OWASP ASVS 5.0 V14.3.2). All of it in one middleware, because each
    further one wraps `send` once more.
    """

    def __init__(
        self,
        app: ASGIApp,
        observers: Sequence[RequestObserver] = (),
        headers: Sequence[tuple[bytes, bytes]] = _SECURITY_HEADERS,
    ) -> None:
        """Tell `observers` of each request when it is over, and add `headers` to its response."""
        self._app = app
        self._observers = tuple(observers)
        self._headers = (*headers, *_REPLACEABLE_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the headers added, and tell."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        id_header = (b"x-request-id", request_id(scope).encode("ascii"))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope[_STATUS] = message["status"]
                own = message.get("headers", ())
                names = {name for name, _ in own}
                added = [each for each in self._headers if each[0] not in names]
                message["headers"] = [*own, id_header, *added]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            if self._observers:
                status = scope.get(_STATUS, CLIENT_GONE)
                finished = finished_request(scope, status, perf_counter() - began)
                for observer in self._observers:
                    observer(finished)


class UnexpectedErrorMiddleware:
    """Answers what nobody expected with a 500 that tells nothing, and logs what it was."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception:
            _log.exception("request %s failed unexpectedly", request_id(scope))
            if _STATUS in scope:
                # Half an answer is out: only the server can cut the connection.
                raise
            await error_answer(scope, InternalError())(scope, receive, send)


class BodyLimitMiddleware:
    """Refuses bodies that are too large, before anything reads or parses them.

    What `Content-Length` announces is refused at once; what comes in pieces, as soon as they
    exceed the limit.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """Let bodies of up to `max_bytes` bytes through."""
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse the body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = _announced_length(scope)
        if announced > self._max_bytes:
            headers = {"Connection": "close"} if announced > _READ_TO_THROW_AWAY else {}
            await error_answer(scope, BodyTooLarge(), headers)(scope, receive, send)
            return
        received = 0

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                # FastAPI lets only this class through while it reads a body.
                raise HTTPException(413)
            return message

        await self._app(scope, counted_receive, send)


def _announced_length(scope: Scope) -> int:
    """Return the length of the body as `Content-Length` has it, 0 without one."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            # A number of that many digits is too large whatever it is, and slow to read.
            return int(value[:20])
    return 0
