"""Whether the service lives, and whether it can work."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request

from keyturn.delivery.http.dependencies import services_of
from keyturn.delivery.http.error_answers import reason_of
from keyturn.delivery.http.errors import NotReady
from keyturn.delivery.http.openapi import operation_id, problems
from keyturn.delivery.http.schemas import Health

router = APIRouter(prefix="/health", tags=["Operations"], generate_unique_id_function=operation_id)

_log = logging.getLogger("keyturn.http")
_CHECK_SECONDS = 5.0


@router.get("/live", summary="Does the process answer?")
async def live() -> Health:
    """Answer; nothing else is asked."""
    return Health()


@router.get("/ready", summary="Can it do its work?", responses=problems(NotReady))
async def ready(request: Request) -> Health:
    """Ask everything that the service needs; a 503 names what fails.

    A check that has not answered after five seconds fails too. Why one fails stands in the log.
    """
    checks = services_of(request).readiness
    passed = await asyncio.gather(*(_passes(name, check) for name, check in checks.items()))
    failing = [name for name, ok in zip(checks, passed, strict=True) if not ok]
    if failing:
        raise NotReady(failing)
    return Health()


async def _passes(name: str, check: Callable[[], Awaitable[None]]) -> bool:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever it is, the service is not ready
        _log.warning("readiness check %s fails: %s", name, reason_of(error))
        return False
    return True
