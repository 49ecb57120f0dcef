"""How much one connection may cost a worker, and the server configuration that carries it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    import asyncio

BACKLOG = 2048
"""Connections that may wait to be accepted."""

SHUTDOWN_SECONDS = 15
"""How long requests may take to end once the service is told to stop."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits that every connection of a worker is held to.

    Attributes:
        max_header_bytes: bytes of the request line and the headers of one request.
        header_timeout: seconds from the first byte of a request (of a new connection: from its
            start) to the end of its headers.
        body_timeout: seconds from the end of the headers to the end of the body.
        keep_alive_timeout: seconds that a connection may be idle between two requests.
        max_connections: connections that one worker serves at the same time.
    """

    max_header_bytes: int = 32768
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    keep_alive_timeout: float = 5.0
    max_connections: int = 1000


class ServerConfig(uvicorn.Config):
    """The configuration of a worker; it is pickled for each worker that is started."""

    def __init__(
        self,
        app: Callable[[], object],
        *,
        limits: ConnectionLimits,
        workers: int,
        logs: dict[str, object] | None,
    ) -> None:
        """Configure a worker.

        Args:
            app: makes the ASGI app; must be picklable, because each worker calls it by itself.
            limits: what a connection may cost.
            workers: processes that serve.
            logs: how each of them logs, for `logging.config.dictConfig`.
        """
        # Named, not imported: the parent of several workers does without the web framework.
        parser = "httptools" if find_spec("httptools") is not None else "h11"
        super().__init__(
            app,
            factory=True,
            http=f"keyturn.delivery.cli.limited_{parser}:Limited{parser.title()}",
            workers=workers,
            lifespan="on",
            log_config=logs,
            # The service writes a line for each request by itself, without the path and its query.
            access_log=False,
            ws="none",
            # The service decides by itself which proxies it believes.
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
        # uvicorn says int and hands it to `loop.call_later`.
        self.timeout_keep_alive = limits.keep_alive_timeout  # type: ignore[assignment] # see above
        self.limits = limits
        self.lingering: set[asyncio.Protocol] = set()
        """Connections that were answered and wait for the client to read the answer."""
