"""Somebody ends one of a user's sessions, as a lost phone's."""

from dataclasses import dataclass, field

from keyturn.domain.errors import SessionNotFound
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.principal import Principal
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.grants import require_over_user


@dataclass(frozen=True, slots=True)
class EndSessionCommand:
    """Whose session, which one, and who ends it.

    Attributes:
        actor: who ends it, None for the operator's command line.
    """

    user_id: UserId
    session_id: FamilyId
    actor: Principal | None
    origin: Origin = field(default_factory=Origin)


class EndSession:
    """Ends one session of a user, seen from the list of their devices."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids

    async def execute(self, command: EndSessionCommand) -> None:
        """End the session and its access tokens; one that has ended already is no error.

        Raises:
            SessionNotFound: there is none of this id, or it is another user's.
            UserNotFound: another user is named who is gone.
            PermissionDenied: the session is of another user, and the actor lacks
                `sessions:revoke`, or the user has a role or a permission that the actor lacks.
            InvalidAccessToken: the session is of another user, and the actor is gone or disabled.
            StoreUnavailable: the store does not answer.
        """
        own = command.actor is not None and command.actor.user_id == command.user_id
        reason = RevokeReason.REVOKED if own else RevokeReason.ADMINISTRATOR
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            if not own:
                await require_over_user(uow, command.actor, "sessions:revoke", command.user_id)
            family = await uow.families.get(command.session_id)
            if family is None or family.user_id != command.user_id:
                raise SessionNotFound
            if family.revoked_at is not None:
                return
            uow.families.revoke(family.id, now, reason)
            uow.revocations.add_session(family.id, now)
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.SESSION_REVOKED,
                    actor=None if command.actor is None else command.actor.user_id,
                    subject=family.user_id,
                    session=family.id,
                    origin=command.origin,
                    details={"reason": reason},
                )
            )
            await uow.commit()
