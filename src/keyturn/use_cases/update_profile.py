"""Somebody changes what others see of them."""

from dataclasses import dataclass

from keyturn.domain.errors import Contention, InvalidAccessToken, StaleUser
from keyturn.domain.ids import UserId
from keyturn.domain.user import User
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock
from keyturn.use_cases.attempts import MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class UpdateProfileCommand:
    """Whose profile, and what it becomes; a display name of None removes it."""

    user_id: UserId
    display_name: str | None


class UpdateProfile:
    """Changes a user's own profile."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def execute(self, command: UpdateProfileCommand) -> User:
        """Change the profile and return the user as it now is.

        Raises:
            InvalidAccessToken: the user is gone or disabled.
            Unavailable: the store does not answer.
        """
        for _ in range(MAX_ATTEMPTS):
            async with self._unit_of_work() as uow:
                user = await uow.users.get(command.user_id)
                if user is None or not user.is_active:
                    raise InvalidAccessToken
                changed = user.with_display_name(command.display_name, self._clock.now())
                uow.users.save(changed)
                try:
                    await uow.commit()
                except StaleUser:
                    continue
                return changed
        raise Contention
