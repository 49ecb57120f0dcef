"""An operator brings an account over from another system, with its password."""

from dataclasses import dataclass

from keyturn.domain.errors import PasswordHashUnknown, RoleNotFound
from keyturn.domain.events import AuditEvent, AuditEventType
from keyturn.domain.secret import Secret
from keyturn.domain.user import (
    USER_ROLE,
    User,
    UserStatus,
    canonical_email,
    require_verified_administrator,
)
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator


@dataclass(frozen=True, slots=True)
class ImportUserCommand:
    """Whose account it is.

    Attributes:
        password_hash: as the other system wrote it; the first login replaces it by one of ours.
        email_verified: whether the other system knew that the address is theirs.
    """

    email: str
    password_hash: Secret
    display_name: str | None = None
    email_verified: bool = False
    roles: frozenset[str] = frozenset({USER_ROLE.name})


class ImportUser:
    """Makes an account whose password only its owner knows."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._clock = clock
        self._ids = ids

    async def execute(self, command: ImportUserCommand) -> User:
        """Import and return the user, who is told nothing of it.

        The password is taken as it is, whatever the policy says of new ones: nobody knows it.

        Raises:
            InvalidEmail: the address can't be one.
            PasswordHashUnknown: nobody could log in with the hash.
            RoleNotFound: there is no such role.
            AdministratorUnverified: the role `admin` comes without a verified address.
            EmailTaken: another user has the address; it is left as it is.
            Unavailable: the store does not answer.
        """
        canonical_email(command.email)
        if not self._hasher.can_verify(command.password_hash.reveal()):
            raise PasswordHashUnknown
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            roles = await uow.roles.get_many(command.roles)
            unknown = command.roles - {role.name for role in roles}
            if unknown:
                raise RoleNotFound(f"There is no role {min(unknown)!r}.")
            verified_at = now if command.email_verified else None
            require_verified_administrator(roles, verified_at)
            user = User(
                id=self._ids.user_id(),
                email=command.email,
                password_hash=command.password_hash.reveal(),
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
            uow.users.add(user)
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.USER_IMPORTED,
                    subject=user.id,
                    details={"roles": " ".join(sorted(user.role_names))},
                )
            )
            await uow.commit()
        return user
