"""Somebody changes their password."""

from dataclasses import dataclass, field

from keyturn.domain.errors import Contention, InvalidAccessToken, StaleUser
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.secret import Secret
from keyturn.domain.source import source_of
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.current_password import CurrentPassword
from keyturn.use_cases.new_password import NewPasswordRules


@dataclass(frozen=True, slots=True)
class ChangePasswordCommand:
    """Whose password, from which session, from what to what."""

    user_id: UserId
    session_id: FamilyId
    current_password: Secret
    new_password: Secret
    origin: Origin = field(default_factory=Origin)


class ChangePassword:
    """Replaces a password and ends every other session (OWASP ASVS 5.0 V7.4.3)."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        current_password: CurrentPassword,
        rules: NewPasswordRules,
        clock: Clock,
        ids: IdGenerator,
        throttle: Throttle,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._current_password = current_password
        self._rules = rules
        self._clock = clock
        self._ids = ids
        self._throttle = throttle

    async def execute(self, command: ChangePasswordCommand) -> None:
        """Change the password; the session it comes from stays, its access tokens do not.

        The user is told by mail (OWASP ASVS 5.0 V6.3.7).

        Raises:
            WrongCurrentPassword, TooManyAttempts: see `CurrentPassword`.
            TooManyAttempts: the user changed too much just now.
            PasswordNotText, PasswordTooShort, PasswordTooLong, PasswordTooCommon,
                PasswordTooPersonal, PasswordBreached: see the policy.
            InvalidAccessToken: the user is gone or disabled.
            Unavailable: the hasher is busy or the store does not answer.
        """
        await self._throttle.admit(
            ThrottledAction.CHANGE, source=None, account=str(command.user_id)
        )
        new_hash: str | None = None
        verified_hash: str | None = None
        for _ in range(MAX_ATTEMPTS):
            async with self._unit_of_work() as uow:
                user = await uow.users.get(command.user_id)
            if user is None or not user.is_active:
                raise InvalidAccessToken
            if user.password_hash != verified_hash:
                await self._current_password.check(user, command.current_password, command.origin)
                verified_hash = user.password_hash
            if new_hash is None:
                new_password = await self._rules.accept(command.new_password, email=user.email)
                new_hash = await self._hasher.hash(
                    new_password, source=source_of(command.origin.ip)
                )
            now = self._clock.now()
            async with self._unit_of_work() as uow:
                changed = user.with_password(new_hash, now)
                uow.users.save(changed)
                uow.families.revoke_all(
                    user.id, now, RevokeReason.PASSWORD_CHANGED, keep=command.session_id
                )
                uow.revocations.add_user(user.id, changed.epoch, now)
                uow.outbox.add(
                    QueuedMail.about(
                        self._ids.mail_id(), MailKind.PASSWORD_CHANGED, user, now, command.origin
                    )
                )
                uow.audit.add(
                    AuditEvent(
                        self._ids.event_id(),
                        now,
                        AuditEventType.PASSWORD_CHANGED,
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
            return
        raise Contention
