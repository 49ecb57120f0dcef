"""The app as a whole."""

from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.testing.in_memory import InMemoryKeyturn


@pytest.fixture
def app(keyturn: InMemoryKeyturn, services: Callable[..., Services]) -> FastAPI:
    """The app with the default options."""
    return build_app(services(keyturn), HttpOptions())


async def test_no_path_is_answered_by_a_redirect_that_would_take_a_password_along(
    app: FastAPI, connect: Callable[..., httpx.AsyncClient]
) -> None:
    client = connect(app=app)
    paths = {route.path for route in iter_route_contexts(app.routes) if route.path is not None}
    assert "/v1/auth/login" in paths
    for path in sorted(paths):
        for asked in (path, f"{path}/"):
            answer = await client.post(asked, json={"next": "https://elsewhere.example"})
            assert not answer.is_redirect, asked
            assert "location" not in answer.headers, asked
