"""The routes that are asked most, answered before the router is asked (docs/decisions/0013).

Finding a route and what FastAPI does around a function cost more than checking a token. So these
few requests are answered by the same functions without that way round. Only what is asked as
clients usually do is answered here; everything else takes the long way, where the routes are.
"""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Request, Response
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyturn.delivery.http import routes_auth, routes_oauth
from keyturn.delivery.http.error_answers import answer_error
from keyturn.delivery.http.errors import NO_STORE
from keyturn.delivery.http.request_ids import header_of
from keyturn.delivery.http.schemas import RefreshedTokens
from keyturn.domain.errors import KeyturnError
from keyturn.domain.secret import Secret

ShortPath = Callable[[Request], Awaitable[ASGIApp | None]]
"""Answers a request as its route would; None, having read at most the body, for the long way."""


class ShortPathsMiddleware:
    """Answers what it can before the router; stands right before it, behind everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the router answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        found = _SHORT_PATHS.get((scope["method"], path))
        if found is None:
            await self._app(scope, receive, send)
            return
        answers, route = found
        # What others look at to know which route it was.
        scope["route"] = route
        request = _ShortRequest(scope, receive)
        try:
            answer = await answers(request)
            if answer is None:
                receive = _again(await request.body(), receive)
        except (KeyturnError, HTTPException, ClientDisconnect) as error:
            answer = await answer_error(request, error)
        await (answer or self._app)(scope, receive, send)


class _ShortRequest(Request):
    """A request whose body is read as it mostly comes: in one piece."""

    async def body(self) -> bytes:
        """Return the body.

        Raises:
            ClientDisconnect: the client left before it was whole.
        """
        if not hasattr(self, "_body"):
            pieces = []
            more = True
            while more:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                pieces.append(message.get("body", b""))
                more = message.get("more_body", False)
            self._body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self._body


class _Json:
    """An answer that is JSON, with nothing about it left to be found out."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        length = str(len(self._text)).encode()
        headers = [(b"content-length", length), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._text})


async def _verify(request: Request) -> Response:
    return await routes_auth.verify(request, await routes_auth.proxied_principal_of(request))


async def _refresh(request: Request) -> ASGIApp | None:
    if header_of(request.scope, b"content-type") != "application/json":
        return None
    token = _only_refresh_token(await request.body())
    if token is None:
        return None
    result = await routes_auth.rotate(request, token)
    return _Json(to_json(RefreshedTokens.members_after(result)))


async def _issue_tokens(request: Request) -> Response:
    answer = await routes_oauth.tokens_for(request)
    text = answer.model_dump_json(exclude_none=True)
    return Response(text, headers=NO_STORE, media_type="application/json")


def _only_refresh_token(body: bytes) -> Secret | None:
    """Return the refresh token of a body that holds it and nothing else."""
    try:
        members: object = from_json(body)
    except ValueError:
        return None
    if not isinstance(members, dict) or members.keys() != {"refresh_token"}:
        return None
    token = members["refresh_token"]
    return Secret(token) if isinstance(token, str) and token.isascii() else None


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what hands over a body that has been read, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


def _route(router: APIRouter, name: str) -> BaseRoute:
    return next(route for route in router.routes if isinstance(route, Route) and route.name == name)


_SHORT_PATHS: Mapping[tuple[str, str], tuple[ShortPath, BaseRoute]] = {
    ("GET", "/v1/auth/verify"): (_verify, _route(routes_auth.router, "verify")),
    ("POST", "/v1/auth/refresh"): (_refresh, _route(routes_auth.router, "refresh")),
    ("POST", "/oauth/token"): (_issue_tokens, _route(routes_oauth.router, "issue_tokens")),
}
