"""An administrator erases a user at once."""

from dataclasses import dataclass, field

from keyturn.domain.errors import Contention, StaleUser
from keyturn.domain.events import Origin
from keyturn.domain.ids import UserId
from keyturn.domain.principal import Principal
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.erasure import stage_erasure
from keyturn.use_cases.grants import require_over_user


@dataclass(frozen=True, slots=True)
class EraseUserCommand:
    """Who goes, and who says so; an actor of None is the operator's command line."""

    user_id: UserId
    actor: Principal | None
    origin: Origin = field(default_factory=Origin)


class EraseUser:
    """Erases a user without any time of grace; what happened stays in the audit trail."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids

    async def execute(self, command: EraseUserCommand) -> None:
        """Erase the user, whose sessions and access tokens die.

        Raises:
            UserNotFound: there is none.
            LastAdministrator: nobody else could administer the service.
            PermissionDenied: the actor lacks `users:write`, or the user has what the actor lacks.
            InvalidAccessToken: the actor is gone or disabled.
            Unavailable: the store does not answer.
        """
        for _ in range(MAX_ATTEMPTS):
            async with self._unit_of_work() as uow:
                user = await require_over_user(uow, command.actor, "users:write", command.user_id)
                stage_erasure(
                    uow,
                    user,
                    self._clock.now(),
                    self._ids,
                    actor=command.actor,
                    origin=command.origin,
                )
                try:
                    await uow.commit()
                except StaleUser:
                    continue
                return
        raise Contention
