"""A request needs more of its caller than the token says."""

from keyturn.domain.errors import InvalidAccessToken
from keyturn.domain.ids import UserId
from keyturn.domain.user import User
from keyturn.ports.persistence import UnitOfWorkFactory


class LoadUser:
    """Loads the caller."""

    def __init__(self, unit_of_work: UnitOfWorkFactory) -> None:
        self._unit_of_work = unit_of_work

    async def execute(self, user_id: UserId) -> User:
        """Return the user.

        Raises:
            InvalidAccessToken: the user is gone or disabled, so the token is worth nothing.
            StoreUnavailable: the store does not answer.
        """
        async with self._unit_of_work() as uow:
            user = await uow.users.get(user_id)
        if user is None or not user.is_active:
            raise InvalidAccessToken
        return user
