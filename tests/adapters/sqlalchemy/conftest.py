from collections.abc import AsyncIterator

import pytest

from keyturn.adapters.sqlalchemy.database import Database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated database of either kind in turn, disposed of after the test."""
    database = Database(database_url)
    yield database
    await database.dispose()
