"""Somebody makes an account."""

from dataclasses import dataclass, field

from keyturn.domain.errors import EmailTaken
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.secret import Secret
from keyturn.domain.source import source_of
from keyturn.domain.user import (
    USER_ROLE,
    User,
    UserStatus,
    canonical_email,
    require_verified_administrator,
)
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.use_cases.new_password import NewPasswordRules

STATEMENTS_SAVED_BY_TAKEN_ADDRESS = 3
"""A new account takes a statement for the user, one for the roles and one for the audit event."""


@dataclass(frozen=True, slots=True)
class RegisterUserCommand:
    """Who registers, and with which password.

    Attributes:
        roles: what the account gets; a delivery that lets strangers register leaves it alone.
        hides_taken_address: whether somebody who registers with another user's address is told
            nothing of it, and its owner is; a delivery that lets strangers register says yes.
        email_is_verified: whether an operator vouches for the address, so that no mail asks.
    """

    email: str
    password: Secret
    display_name: str | None = None
    roles: frozenset[str] = frozenset({USER_ROLE.name})
    hides_taken_address: bool = False
    email_is_verified: bool = False
    origin: Origin = field(default_factory=Origin)


class RegisterUser:
    """Makes an account."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        rules: NewPasswordRules,
        clock: Clock,
        ids: IdGenerator,
        throttle: Throttle,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._rules = rules
        self._clock = clock
        self._ids = ids
        self._throttle = throttle

    async def execute(self, command: RegisterUserCommand) -> User:
        """Register and return the user, who is sent a link if the address is to be verified.

        Returns:
            Where the address is taken and that is hidden, a user as it would have been (OWASP
            ASVS 5.0 V6.3.8). Nothing of it is stored, and the owner of the address is sent a mail.

        Raises:
            TooManyAttempts: too many register from the same source, or with the same address.
            InvalidEmail: the address can't be one.
            PasswordNotText, PasswordTooShort, PasswordTooLong, PasswordTooCommon,
                PasswordTooPersonal, PasswordBreached: see the policy.
            EmailTaken: another user has the address, and that is not hidden.
            AdministratorUnverified: the role `admin` comes without a verified address.
            Unavailable: the hasher is busy, or the store does not answer.
        """
        await self._throttle.admit(
            ThrottledAction.REGISTER,
            source=source_of(command.origin.ip),
            account=canonical_email(command.email),
        )
        password = await self._rules.accept(command.password, email=command.email)
        # Hashed before the address is looked at: the time taken does not tell whether it is taken.
        password_hash = await self._hasher.hash(password, source=source_of(command.origin.ip))
        async with self._unit_of_work() as uow:
            user = await self._new_user(uow, command, password_hash)
            if await uow.users.get_by_email(command.email) is None:
                self._add(uow, user, command)
            elif command.hides_taken_address:
                self._tell_owner(uow, command)
                uow.idle(STATEMENTS_SAVED_BY_TAKEN_ADDRESS)
            else:
                raise EmailTaken
            try:
                await uow.commit()
            except EmailTaken:
                # Somebody else was quicker by a moment.
                if not command.hides_taken_address:
                    raise
            else:
                return user
        async with self._unit_of_work() as uow:
            self._tell_owner(uow, command)
            await uow.commit()
        return user

    async def _new_user(
        self, uow: UnitOfWork, command: RegisterUserCommand, password_hash: str
    ) -> User:
        now = self._clock.now()
        roles = await uow.roles.get_many(command.roles)
        verified_at = now if command.email_is_verified else None
        require_verified_administrator(roles, verified_at)
        return User(
            id=self._ids.user_id(),
            email=command.email,
            password_hash=password_hash,
            display_name=command.display_name,
            status=UserStatus.ACTIVE,
            roles=roles,
            epoch=0,
            version=0,
            created_at=now,
            updated_at=now,
            last_login_at=None,
            email_verified_at=verified_at,
        )

    def _add(self, uow: UnitOfWork, user: User, command: RegisterUserCommand) -> None:
        now, origin = user.created_at, command.origin
        uow.users.add(user)
        if not command.email_is_verified:
            uow.outbox.add(
                QueuedMail.to_address(
                    self._ids.mail_id(), MailKind.VERIFY_EMAIL, user.email, now, origin
                )
            )
        uow.audit.add(
            AuditEvent(
                self._ids.event_id(),
                now,
                AuditEventType.USER_REGISTERED,
                actor=user.id,
                subject=user.id,
                origin=origin,
                details={"roles": " ".join(sorted(user.role_names))},
            )
        )

    def _tell_owner(self, uow: UnitOfWork, command: RegisterUserCommand) -> None:
        uow.outbox.add(
            QueuedMail.to_address(
                self._ids.mail_id(),
                MailKind.ALREADY_REGISTERED,
                command.email,
                self._clock.now(),
                command.origin,
            )
        )
