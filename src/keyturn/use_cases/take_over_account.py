"""An operator makes an existing account an administrator's, whoever held it before."""

from dataclasses import dataclass

from keyturn.domain.errors import Contention, StaleUser, UserNotFound
from keyturn.domain.events import AuditEvent, AuditEventType
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, User
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.new_password import NewPasswordRules


@dataclass(frozen=True, slots=True)
class TakeOverAccountCommand:
    """Which account, and its new password."""

    email: str
    password: Secret


class TakeOverAccount:
    """Gives an account a new password and the role `admin`; nothing of before opens it."""

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

    async def execute(self, command: TakeOverAccountCommand) -> User:
        """Take the account over and return it as it now is.

        Every session ends, older access tokens and links are void, and the address counts as
        verified, because the operator vouches for it.

        Raises:
            UserNotFound: no account has the address.
            InvalidEmail: the address can't be one.
            PasswordNotText, PasswordTooShort, PasswordTooLong, PasswordTooCommon,
                PasswordTooPersonal, PasswordBreached: see the policy.
            Unavailable: the hasher is busy, or the store does not answer.
        """
        password = await self._rules.accept(command.password, email=command.email)
        password_hash = await self._hasher.hash(password, source=UNKNOWN_SOURCE)
        for _ in range(MAX_ATTEMPTS):
            async with self._unit_of_work() as uow:
                user = await uow.users.get_by_email(command.email)
                if user is None:
                    raise UserNotFound
                try:
                    return await self._take_over(uow, user, password_hash)
                except StaleUser:
                    continue
        raise Contention

    async def _take_over(self, uow: UnitOfWork, user: User, password_hash: str) -> User:
        now = self._clock.now()
        roles = await uow.roles.get_many(user.role_names | {USER_ROLE.name, ADMIN_ROLE.name})
        changed = user.taken_over(password_hash, roles, now)
        uow.users.save(changed)
        uow.families.revoke_all(user.id, now, RevokeReason.ADMINISTRATOR)
        uow.revocations.add_user(user.id, changed.epoch, now)
        uow.audit.add(
            AuditEvent(
                self._ids.event_id(),
                now,
                AuditEventType.ACCOUNT_TAKEN_OVER,
                subject=user.id,
                details={
                    "from": " ".join(sorted(user.role_names)),
                    "to": " ".join(sorted(changed.role_names)),
                },
            )
        )
        await uow.commit()
        return changed
