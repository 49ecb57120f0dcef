"""An administrator looks at the roles."""

from keyturn.domain.errors import RoleNotFound
from keyturn.domain.user import Role
from keyturn.ports.persistence import UnitOfWorkFactory


class ListRoles:
    """Lists roles with what they permit."""

    def __init__(self, unit_of_work: UnitOfWorkFactory) -> None:
        self._unit_of_work = unit_of_work

    async def execute(self) -> list[Role]:
        """Return every role, by name.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        async with self._unit_of_work() as uow:
            return await uow.roles.list_all()

    async def one(self, name: str) -> Role:
        """Return one role.

        Raises:
            RoleNotFound: there is none of this name.
            StoreUnavailable: the store does not answer.
        """
        async with self._unit_of_work() as uow:
            found = await uow.roles.get_many(frozenset({name}))
        for role in found:
            return role
        raise RoleNotFound
