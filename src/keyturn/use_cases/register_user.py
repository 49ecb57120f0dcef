"""Somebody makes an account."""

from dataclasses import dataclass, field

from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.secret import Secret
from keyturn.domain.user import USER_ROLE, User, UserStatus, canonical_email
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.new_password import NewPasswordRules


@dataclass(frozen=True, slots=True)
class RegisterUserCommand:
    """Who registers, and with which password.

    Attributes:
        roles: what the account gets; a delivery that lets strangers register leaves it alone.
    """

    email: str
    password: Secret
    display_name: str | None = None
    roles: frozenset[str] = frozenset({USER_ROLE.name})
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
    ) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._rules = rules
        self._clock = clock
        self._ids = ids

    async def execute(self, command: RegisterUserCommand) -> User:
        """Register and return the user.

        Raises:
            InvalidEmail: the address can't be one.
            PasswordNotText, PasswordTooShort, PasswordTooLong, PasswordTooCommon: see the policy.
            EmailTaken: another user has the address.
            Unavailable: the hasher is busy or the store does not answer.
        """
        canonical_email(command.email)
        password = await self._rules.accept(command.password)
        # Hashed before the address is looked at: the time taken does not tell whether it is taken.
        password_hash = await self._hasher.hash(password)
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            user = User(
                id=self._ids.user_id(),
                email=command.email,
                password_hash=password_hash,
                display_name=command.display_name,
                status=UserStatus.ACTIVE,
                roles=await uow.roles.get_many(command.roles),
                epoch=0,
                version=0,
                created_at=now,
                updated_at=now,
                last_login_at=None,
            )
            uow.users.add(user)
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.USER_REGISTERED,
                    actor=user.id,
                    subject=user.id,
                    origin=command.origin,
                    details={"roles": " ".join(sorted(user.role_names))},
                )
            )
            await uow.commit()
        return user
