"""An administrator looks at a user."""

from keyturn.domain.errors import UserNotFound
from keyturn.domain.ids import UserId
from keyturn.domain.user import User
from keyturn.ports.persistence import UnitOfWorkFactory


class GetUser:
    """Finds a user by id or address."""

    def __init__(self, unit_of_work: UnitOfWorkFactory) -> None:
        self._unit_of_work = unit_of_work

    async def execute(self, user_id: UserId) -> User:
        """Return the user, active or not.

        Raises:
            UserNotFound: there is none.
            StoreUnavailable: the store does not answer.
        """
        async with self._unit_of_work() as uow:
            user = await uow.users.get(user_id)
        if user is None:
            raise UserNotFound
        return user

    async def by_email(self, email: str) -> User:
        """Return the user who has this address, active or not.

        Raises:
            UserNotFound: there is none.
            InvalidEmail: the text can't be an address.
            StoreUnavailable: the store does not answer.
        """
        async with self._unit_of_work() as uow:
            user = await uow.users.get_by_email(email)
        if user is None:
            raise UserNotFound
        return user
