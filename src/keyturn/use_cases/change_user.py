"""An administrator changes a user's status or display name."""

from dataclasses import dataclass, field

from keyturn.domain.errors import Contention, StaleUser
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import UserId
from keyturn.domain.principal import Principal
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.user import ADMIN_ROLE, User, UserStatus
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.grants import require_over_user


@dataclass(frozen=True, slots=True)
class ChangeUserCommand:
    """Who is changed, how, and by whom.

    Attributes:
        actor: None for the operator's command line.
        status: None leaves it as it is.
        display_name: None removes it, if `rename` says that it is changed at all.
    """

    user_id: UserId
    actor: Principal | None
    status: UserStatus | None = None
    rename: bool = False
    display_name: str | None = None
    origin: Origin = field(default_factory=Origin)


class ChangeUser:
    """Disables, enables or renames a user; a disabled one loses all sessions and tokens."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids

    async def execute(self, command: ChangeUserCommand) -> User:
        """Change the user and return it as it now is.

        Raises:
            UserNotFound: there is none.
            LastAdministrator: it is the last active one, and would be disabled.
            PermissionDenied: the actor lacks `users:write`, or the user has what the actor lacks.
            InvalidAccessToken: the actor is gone or disabled.
            Unavailable: the store does not answer.
        """
        for _ in range(MAX_ATTEMPTS):
            async with self._unit_of_work() as uow:
                user = await require_over_user(uow, command.actor, "users:write", command.user_id)
                try:
                    return await self._change(uow, user, command)
                except StaleUser:
                    continue
        raise Contention

    async def _change(self, uow: UnitOfWork, user: User, command: ChangeUserCommand) -> User:
        now = self._clock.now()
        display_name = command.display_name if command.rename else user.display_name
        status = command.status or user.status
        events = []
        if display_name != user.display_name:
            events.append(AuditEventType.PROFILE_CHANGED)
        if status is not user.status:
            disabled = status is UserStatus.DISABLED
            events.append(AuditEventType.USER_DISABLED if disabled else AuditEventType.USER_ENABLED)
        if not events:
            return user
        changed = user.administered(now, status=status, display_name=display_name)
        uow.users.save(changed)
        if AuditEventType.USER_DISABLED in events:
            uow.families.revoke_all(user.id, now, RevokeReason.USER_DISABLED)
            uow.revocations.add_user(user.id, changed.epoch, now)
            if ADMIN_ROLE.name in user.role_names:
                uow.users.require_holder(ADMIN_ROLE.name)
        for event in events:
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    event,
                    actor=None if command.actor is None else command.actor.user_id,
                    subject=user.id,
                    session=None if command.actor is None else command.actor.session_id,
                    origin=command.origin,
                )
            )
        await uow.commit()
        return changed
