"""A service's two ends of the feed, as each worker has them."""

import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from keyturn.adapters.redis.revocations import RedisRevocationList
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.revocations import SqlRevocationList
from keyturn.testing.doubles import ManualClock

OpenList = Callable[[str], RedisRevocationList]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    """A migrated database."""
    database = Database(sqlite_url)
    yield database
    await database.dispose()


@pytest.fixture
async def open_list(database: Database, clock: ManualClock) -> AsyncIterator[OpenList]:
    """Opens lists of one deployment at a Redis URL, as one worker each would."""
    key = f"keyturn-test:{uuid.uuid4()}"
    opened: list[RedisRevocationList] = []

    def open_one(url: str) -> RedisRevocationList:
        opened.append(RedisRevocationList(url, SqlRevocationList(database), clock, key=key))
        return opened[-1]

    yield open_one
    for revocation_list in opened:
        await revocation_list.aclose()
