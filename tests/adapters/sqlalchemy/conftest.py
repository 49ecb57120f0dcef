from collections.abc import AsyncIterator, Callable

import pytest

from keyturn.adapters.sqlalchemy.database import Database


@pytest.fixture
async def open_database() -> AsyncIterator[Callable[[str], Database]]:
    """Opens databases, and disposes of them after the test; named behind the fixture of the URL."""
    opened: list[Database] = []

    def open_one(url: str) -> Database:
        opened.append(Database(url))
        return opened[-1]

    yield open_one
    for database in opened:
        await database.dispose()


@pytest.fixture
def database(database_url: str, open_database: Callable[[str], Database]) -> Database:
    """A migrated database, of either kind in turn."""
    return open_database(database_url)


@pytest.fixture
def postgres(postgres_url: str, open_database: Callable[[str], Database]) -> Database:
    """A migrated PostgreSQL database."""
    return open_database(postgres_url)


@pytest.fixture
def sqlite(sqlite_url: str, open_database: Callable[[str], Database]) -> Database:
    """A migrated SQLite database."""
    return open_database(sqlite_url)
