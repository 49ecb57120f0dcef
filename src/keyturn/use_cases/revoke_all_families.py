"""Somebody logs out everywhere."""

from dataclasses import dataclass

from keyturn.domain.errors import Contention, InvalidAccessToken, StaleUser
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock
from keyturn.use_cases.attempts import MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class RevokeAllFamiliesCommand:
    """Whose sessions end, and which one stays."""

    user_id: UserId
    keep: FamilyId | None = None


class RevokeAllFamilies:
    """Ends every session of a user, or every other one."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def execute(self, command: RevokeAllFamiliesCommand) -> None:
        """End the sessions.

        A login that is under way at the same time either ends too or comes after.

        Raises:
            InvalidAccessToken: the user is gone.
            Unavailable: the store does not answer.
        """
        for _ in range(MAX_ATTEMPTS):
            now = self._clock.now()
            async with self._unit_of_work() as uow:
                user = await uow.users.get(command.user_id)
                if user is None:
                    raise InvalidAccessToken
                # Moving the user's version makes a login that read it before start again.
                uow.users.save(user.logged_out_everywhere(now))
                uow.families.revoke_all(user.id, now, RevokeReason.LOGOUT_ALL, keep=command.keep)
                try:
                    await uow.commit()
                except StaleUser:
                    continue
                return
        raise Contention
