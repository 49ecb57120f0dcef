"""The service below a path of another app."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from keyturn.delivery.http.error_answers import handle_keyturn_errors
from keyturn.delivery.http.openapi import with_tokens_from
from keyturn.delivery.http.routes_metadata import answer_where_clients_ask
from keyturn.delivery.http.services import HttpOptions

_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def require_mountable(host: FastAPI, path: str, *, guards_host: bool) -> None:
    """Return if a service can be put below a path of `host`.

    Raises:
        ValueError: the path is not one to mount at, or something else guards the host already.
    """
    if not _PATH.fullmatch(path):
        raise ValueError(f"{path!r} is not a path to mount at, such as '/auth'")
    if guards_host and hasattr(host.state, "keyturn"):
        raise ValueError("the app is guarded already: mount others with guards_host=False")


def mount_app(host: FastAPI, service: FastAPI, path: str, *, guards_host: bool) -> None:
    """Put `service`, an app that `build_app` made, below a path of `host`.

    Args:
        guards_host: whether the dependencies in the host's own routes check its tokens.
    """
    options: HttpOptions = service.state.keyturn_http
    # Before the mount, which would take every path below its own.
    answer_where_clients_ask(host, options)
    host.mount(path, service)
    _open_and_close_with(host, service)
    if guards_host:
        host.state.keyturn = service.state.keyturn
        host.state.keyturn_origin = options.origin
        handle_keyturn_errors(host)
        _describe_tokens_from(host, options.issuer_path if options.password_grant else None)


def _open_and_close_with(host: FastAPI, service: FastAPI) -> None:
    # A mounted app's own lifespan is run by nobody.
    of_the_host = host.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any] | None]:
        async with service.router.lifespan_context(service), of_the_host(app) as state:
            yield state

    host.router.lifespan_context = lifespan  # type: ignore[assignment]  # the host's own state, if any


def _describe_tokens_from(host: FastAPI, path: str | None) -> None:
    of_the_host: Callable[[], dict[str, Any]] = host.openapi

    def openapi() -> dict[str, Any]:
        return with_tokens_from(of_the_host(), path)

    # What FastAPI has for extending a document.
    setattr(host, "openapi", openapi)  # noqa: B010 - an assignment to a method is no type error here
