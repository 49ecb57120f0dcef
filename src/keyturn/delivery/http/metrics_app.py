"""The figures for Prometheus, as an ASGI app of its own: never on the port of the service."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send


class MetricsPage(Protocol):
    """All figures as they are now."""

    @abstractmethod
    def render(self) -> bytes:
        """Return them as text."""

    @property
    @abstractmethod
    def content_type(self) -> str:
        """The media type of the text."""


def figures_app(page: MetricsPage, *, on_start: Callable[[], None] | None = None) -> ASGIApp:
    """Return an app that answers GET and HEAD with the figures, whatever the path.

    The path is for whoever mounts the app to decide.

    Args:
        page: what is answered.
        on_start: is called in the event loop when a server starts the app.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            if on_start is not None:
                on_start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            await _answer(page, scope["method"], send)

    return app


async def _answer(page: MetricsPage, method: str, send: Send) -> None:
    is_read = method in {"GET", "HEAD"}
    body = page.render() if is_read else b"Only GET and HEAD are answered.\n"
    headers = [
        (b"content-type", (page.content_type if is_read else "text/plain").encode("ascii")),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if not is_read:
        headers.append((b"allow", b"GET, HEAD"))
    status = 200 if is_read else 405
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
