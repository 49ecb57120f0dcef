"""Somebody logs out everywhere, or an administrator logs them out."""

from dataclasses import dataclass, field

from keyturn.domain.errors import Contention, StaleUser, UserNotFound
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.principal import Principal
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.grants import require_over_user


@dataclass(frozen=True, slots=True)
class RevokeAllFamiliesCommand:
    """Whose sessions end, which one stays, and who ends them.

    Attributes:
        actor: who ends them, None for the operator's command line.
    """

    user_id: UserId
    actor: Principal | None
    keep: FamilyId | None = None
    origin: Origin = field(default_factory=Origin)


class RevokeAllFamilies:
    """Ends every session of a user, or every other one, and their access tokens."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids

    async def execute(self, command: RevokeAllFamiliesCommand) -> None:
        """End the sessions.

        A login that is under way at the same time either ends too or comes after.

        Raises:
            UserNotFound: the user is gone.
            PermissionDenied: the sessions are of another user, and the actor lacks
                `sessions:revoke`, or the user has a role or a permission that the actor lacks.
            InvalidAccessToken: the sessions are of another user, and the actor is gone or disabled.
            Unavailable: the store does not answer.
        """
        own = command.actor is not None and command.actor.user_id == command.user_id
        reason = RevokeReason.LOGOUT_ALL if own else RevokeReason.ADMINISTRATOR
        for _ in range(MAX_ATTEMPTS):
            now = self._clock.now()
            async with self._unit_of_work() as uow:
                if own:
                    user = await uow.users.get(command.user_id)
                    if user is None:
                        raise UserNotFound
                else:
                    user = await require_over_user(
                        uow, command.actor, "sessions:revoke", command.user_id
                    )
                # Moving the user's version makes a login that read it before start again.
                if command.keep is None:
                    changed = user.logged_out_everywhere(now)
                    uow.revocations.add_user(user.id, changed.epoch, now)
                else:
                    changed = user.logged_out_elsewhere()
                    for family in await uow.families.list_live(user.id, now):
                        if family.id != command.keep:
                            uow.revocations.add_session(family.id, now)
                uow.users.save(changed)
                uow.families.revoke_all(user.id, now, reason, keep=command.keep)
                uow.audit.add(
                    AuditEvent(
                        self._ids.event_id(),
                        now,
                        AuditEventType.ALL_SESSIONS_REVOKED,
                        actor=None if command.actor is None else command.actor.user_id,
                        subject=user.id,
                        session=None if command.actor is None else command.actor.session_id,
                        origin=command.origin,
                        details={"reason": reason},
                    )
                )
                try:
                    await uow.commit()
                except StaleUser:
                    continue
                return
        raise Contention
