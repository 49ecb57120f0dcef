"""Whether the service lives, and whether it can work."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from keyturn.domain.errors import StoreUnavailable


async def passes() -> None:
    """Nothing is wrong."""


async def cannot_reach_the_store() -> None:
    raise StoreUnavailable


class Refused(Exception):
    """Why a store does not answer, in an adapter's own words."""

    __module__ = "keyturn.adapters.of_the_test"


async def is_refused() -> None:
    raise StoreUnavailable from Refused("the server refuses the password")


async def tells_too_much() -> None:
    raise RuntimeError("postgresql://keyturn:canary@db/keyturn")


async def hangs() -> None:
    await asyncio.Event().wait()


async def test_a_process_that_answers_lives(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_service_whose_checks_pass_is_ready(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    answer = await connect(readiness={"database": passes}).get("/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_service_that_is_not_ready_names_what_fails_and_not_why(
    connect: Callable[..., httpx.AsyncClient], caplog: pytest.LogCaptureFixture
) -> None:
    checks = {"keys": passes, "database": cannot_reach_the_store, "migrations": tells_too_much}
    answer = await connect(readiness=checks).get("/health/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert answer.json()["failing"] == ["database", "migrations"]
    assert answer.headers["retry-after"] == "1"
    assert "canary" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text


async def test_a_check_that_never_answers_fails(
    connect: Callable[..., httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.delivery.http.routes_health._CHECK_SECONDS", 0.0)
    answer = await connect(readiness={"database": hangs}).get("/health/ready")
    assert answer.json()["failing"] == ["database"]


@pytest.mark.parametrize(
    ("check", "told"), [(is_refused, "the server refuses the password"), (hangs, "TimeoutError")]
)
async def test_why_a_check_fails_is_told_to_the_log_alone(
    check: Callable[[], Awaitable[None]],
    told: str,
    connect: Callable[..., httpx.AsyncClient],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keyturn.delivery.http.routes_health._CHECK_SECONDS", 0.0)
    answer = await connect(readiness={"database": check}).get("/health/ready")
    assert told not in answer.text
    assert f"readiness check database fails: {told}" in caplog.text
