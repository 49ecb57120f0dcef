"""Somebody changes what others see of them."""

from dataclasses import dataclass, field

from keyturn.domain.errors import Contention, InvalidAccessToken, StaleUser
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.user import User
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.use_cases.attempts import MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class UpdateProfileCommand:
    """Whose profile, what it becomes, and from where; a display name of None removes it."""

    user_id: UserId
    display_name: str | None
    session_id: FamilyId
    origin: Origin = field(default_factory=Origin)


class UpdateProfile:
    """Changes a user's own profile."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
        throttle: Throttle,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids
        self._throttle = throttle

    async def execute(self, command: UpdateProfileCommand) -> User:
        """Change the profile and return the user as it now is.

        Raises:
            TooManyAttempts: the user changed too much just now.
            InvalidAccessToken: the user is gone or disabled.
            Unavailable: the store does not answer.
        """
        await self._throttle.admit(
            ThrottledAction.CHANGE, source=None, account=str(command.user_id)
        )
        for _ in range(MAX_ATTEMPTS):
            async with self._unit_of_work() as uow:
                user = await uow.users.get(command.user_id)
                if user is None or not user.is_active:
                    raise InvalidAccessToken
                if command.display_name == user.display_name:
                    return user
                now = self._clock.now()
                changed = user.with_display_name(command.display_name, now)
                uow.users.save(changed)
                uow.audit.add(
                    AuditEvent(
                        self._ids.event_id(),
                        now,
                        AuditEventType.PROFILE_CHANGED,
                        actor=user.id,
                        subject=user.id,
                        session=command.session_id,
                        origin=command.origin,
                    )
                )
                try:
                    await uow.commit()
                except StaleUser:
                    continue
                return changed
        raise Contention
