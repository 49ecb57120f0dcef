"""Somebody wants their account to be gone."""

from dataclasses import dataclass, field
from datetime import timedelta

from keyturn.domain.errors import Contention, InvalidAccessToken, StaleUser
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.user import ADMIN_ROLE, User
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.use_cases.attempts import MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class DeleteAccountCommand:
    """Whose account, and from which session."""

    user_id: UserId
    session_id: FamilyId
    origin: Origin = field(default_factory=Origin)


class DeleteAccount:
    """Ends every session at once, and has the user erased when the time of grace is over."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
        throttle: Throttle,
        grace: timedelta,
    ) -> None:
        """Leave a user `grace` to take it back by logging in."""
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids
        self._throttle = throttle
        self._grace = grace

    async def execute(self, command: DeleteAccountCommand) -> User:
        """Return the user as it now is, with `deletion_due_at`; a mail tells them.

        Raises:
            TooManyAttempts: the user changed too much just now.
            InvalidAccessToken: the user is gone, disabled or leaving already.
            LastAdministrator: nobody else could administer the service.
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
                try:
                    return await self._leave(uow, user, command)
                except StaleUser:
                    continue
        raise Contention

    async def _leave(self, uow: UnitOfWork, user: User, command: DeleteAccountCommand) -> User:
        now = self._clock.now()
        due = now + self._grace
        leaving = user.leaving(now, due=due)
        uow.users.save(leaving)
        uow.families.revoke_all(user.id, now, RevokeReason.ACCOUNT_DELETED)
        uow.revocations.add_user(user.id, leaving.epoch, now)
        if ADMIN_ROLE.name in user.role_names:
            uow.users.require_holder(ADMIN_ROLE.name)
        uow.outbox.add(
            QueuedMail.about(
                self._ids.mail_id(),
                MailKind.DELETION_SCHEDULED,
                leaving,
                now,
                command.origin,
                details=(("due", due.isoformat(timespec="seconds")),),
            )
        )
        uow.audit.add(
            AuditEvent(
                self._ids.event_id(),
                now,
                AuditEventType.DELETION_REQUESTED,
                actor=user.id,
                subject=user.id,
                session=command.session_id,
                origin=command.origin,
            )
        )
        await uow.commit()
        return leaving
