import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from keyturn.adapters.limits.redis_windows import RedisWindows


@pytest.fixture
async def open_windows(redis_url: str) -> AsyncIterator[Callable[[], RedisWindows]]:
    """Opens windows in Redis that belong together, and closes them after the test."""
    prefix = f"keyturn-test:{uuid.uuid4()}"
    opened: list[RedisWindows] = []

    def open_one() -> RedisWindows:
        opened.append(RedisWindows(redis_url, key_prefix=prefix))
        return opened[-1]

    yield open_one
    for windows in opened:
        await windows.aclose()
