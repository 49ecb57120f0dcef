"""One atomic change of a SQL database."""

from types import TracebackType
from typing import Self

from keyturn.adapters.sqlalchemy.database import Database, StagedWrite
from keyturn.adapters.sqlalchemy.families import SqlFamilyRepository
from keyturn.adapters.sqlalchemy.users import SqlRoleRepository, SqlUserRepository
from keyturn.ports.persistence import (
    FamilyRepository,
    RoleRepository,
    UnitOfWork,
    UserRepository,
)


class SqlUnitOfWork(UnitOfWork):
    """Reads at once, one statement each; writes at the commit.

    It holds no connection between its calls, so that one which is left open, or cancelled, costs
    nobody anything.
    """

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._database = database
        self._staged: list[StagedWrite] = []
        self._users = SqlUserRepository(database, self._staged)
        self._roles = SqlRoleRepository(database)
        self._families = SqlFamilyRepository(database, self._staged)

    @property
    def users(self) -> UserRepository:
        """The users."""
        return self._users

    @property
    def roles(self) -> RoleRepository:
        """The roles."""
        return self._roles

    @property
    def families(self) -> FamilyRepository:
        """The families."""
        return self._families

    async def commit(self) -> None:
        """Apply everything staged, or nothing."""
        await self._database.commit(self._staged)
        self._staged.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._staged.clear()
