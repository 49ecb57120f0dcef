"""Somebody wants another e-mail address."""

from dataclasses import dataclass, field

from keyturn.domain.errors import InvalidAccessToken
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.secret import Secret
from keyturn.domain.source import source_of
from keyturn.domain.user import canonical_email
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.use_cases.current_password import CurrentPassword


@dataclass(frozen=True, slots=True)
class RequestEmailChangeCommand:
    """Whose address, from which session, and what it shall be."""

    user_id: UserId
    session_id: FamilyId
    current_password: Secret
    new_email: str
    origin: Origin = field(default_factory=Origin)


class RequestEmailChange:
    """Has a link sent to the new address, and tells the old one."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        current_password: CurrentPassword,
        clock: Clock,
        ids: IdGenerator,
        throttle: Throttle,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._current_password = current_password
        self._clock = clock
        self._ids = ids
        self._throttle = throttle

    async def execute(self, command: RequestEmailChangeCommand) -> None:
        """Ask for the change, which happens once the link is followed (`ConfirmEmail`).

        Whether the new address belongs to somebody is not said: its owner is told by mail.

        Raises:
            InvalidEmail: the new address can't be one.
            WrongCurrentPassword, TooManyAttempts: see `CurrentPassword`.
            TooManyAttempts: too many changes were asked for, from the same source, to the same
                address or by the same user.
            InvalidAccessToken: the user is gone or disabled.
            Unavailable: the hasher is busy or the store does not answer.
        """
        await self._throttle.admit(
            ThrottledAction.CHANGE, source=None, account=str(command.user_id)
        )
        await self._throttle.admit(
            ThrottledAction.VERIFY,
            source=source_of(command.origin.ip),
            account=canonical_email(command.new_email),
        )
        async with self._unit_of_work() as uow:
            user = await uow.users.get(command.user_id)
        if user is None or not user.is_active:
            raise InvalidAccessToken
        await self._current_password.check(user, command.current_password, command.origin)
        if command.new_email == user.email and user.email_verified_at is not None:
            return
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            # Both are worth something only while the credentials are those that were checked.
            for kind, address in (
                (MailKind.CONFIRM_NEW_EMAIL, command.new_email),
                (MailKind.EMAIL_CHANGE_REQUESTED, user.email),
            ):
                uow.outbox.add(
                    QueuedMail.about(
                        self._ids.mail_id(), kind, user, now, command.origin, address=address
                    )
                )
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.EMAIL_CHANGE_REQUESTED,
                    actor=user.id,
                    subject=user.id,
                    session=command.session_id,
                    origin=command.origin,
                )
            )
            await uow.commit()
