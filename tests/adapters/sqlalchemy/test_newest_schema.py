"""Which schema is the newest is known without loading what migrates."""

from pathlib import Path

from alembic.script import ScriptDirectory

from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.migrations import current_revision, head_revision, migrate

MIGRATIONS = Path(__file__).parents[3] / "migrations"


def test_the_last_file_is_the_newest_revision() -> None:
    assert head_revision() == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def test_every_file_is_named_after_its_revision() -> None:
    for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions():
        assert Path(script.path).name.startswith(f"{script.revision}_")


async def test_a_database_that_was_never_migrated_is_at_no_revision(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    database = Database(url)
    try:
        assert await current_revision(database) is None
        await migrate(url)
        assert await current_revision(database) == head_revision()
    finally:
        await database.dispose()
