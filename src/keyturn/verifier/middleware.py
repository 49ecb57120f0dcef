"""Access tokens checked in front of a whole app, in plain ASGI: Starlette and all that speak it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from keyturn.delivery.http.bearer import challenge, presented_access_token
from keyturn.delivery.http.services import AccessChecks
from keyturn.domain.errors import (
    AuthenticationFailed,
    AuthenticationRequired,
    InvalidAccessToken,
    KeyturnError,
    Unavailable,
    WrongAudience,
)
from keyturn.domain.principal import Principal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PRINCIPAL = "keyturn.principal"
"""Where the scope holds the caller: a `Principal`, or None if nobody has to say who they are."""

_POLICY_VIOLATION = 1008


class AccessTokenMiddleware:
    """Lets no request through that has not a good access token.

    ```python
    app = Starlette(
        routes=...,
        lifespan=verifier.lifespan,
        middleware=[Middleware(AccessTokenMiddleware, verifier=verifier)],
    )
    principal = request.scope["keyturn.principal"]
    ```
    """

    def __init__(
        self,
        app: ASGIApp,
        verifier: AccessChecks,
        is_public: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Check in front of `app`.

        Args:
            is_public: says of a path whether nobody needs a token there; one that is presented
                must be good all the same.
        """
        self._app = app
        self._verifier = verifier
        self._is_public = is_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            scope[PRINCIPAL] = await self._principal(scope)
        except (AuthenticationFailed, Unavailable) as error:
            await _refuse(scope, send, error)
            return
        await self._app(scope, receive, send)

    async def _principal(self, scope: Scope) -> Principal | None:
        presented = presented_access_token(scope, _url_of)
        if presented is not None:
            return await self._verifier.authenticate(presented.token, presented.proof)
        if self._is_public(scope["path"]):
            return None
        raise AuthenticationRequired


def _url_of(_: Scope) -> str:
    # A verifier takes no proof, whatever it was made for.
    return ""


async def _refuse(scope: Scope, send: Send, error: KeyturnError) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted, servers tell this as a 403.
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": error.code})
        return
    if isinstance(error, Unavailable):
        status, title = 503, "Not available now"
        header = (b"retry-after", str(error.retry_after).encode())
    else:
        status, title = 401, "Not authenticated"
        presented = type(error) if isinstance(error, InvalidAccessToken) else None
        header = (b"www-authenticate", challenge(presented).encode())
    problem = {
        "type": f"urn:keyturn:error:{error.code}",
        "title": title,
        "status": status,
        "detail": error.detail,
        "code": error.code,
    }
    if isinstance(error, WrongAudience) and error.resource is not None:
        problem["resource"] = error.resource
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        header,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else json.dumps(problem).encode()
    await send({"type": "http.response.body", "body": body})
