"""A person who can log in."""

import re
import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from keyturn.domain.errors import AdministratorUnverified, InvalidEmail, InvalidRole
from keyturn.domain.ids import UserId

_NOTHING: frozenset[str] = frozenset()

MAX_EMAIL_LENGTH = 254


ROLE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
PERMISSION_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}:[a-z][a-z0-9_.-]{0,63}")


class UserStatus(StrEnum):
    """Whether a user may log in and refresh.

    `DELETING` is a user who asked to be deleted: a login within the time of grace takes it back.
    """

    ACTIVE = "active"
    DISABLED = "disabled"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions, such as `posts:delete`.

    Attributes:
        assignable_by: the names of roles whose holders may grant this role and take it away, in
            addition to those who hold it and to those who hold `admin`.
        version: raised by each change; a put of a version that is not the next one is stale.
    """

    name: str
    permissions: frozenset[str]
    assignable_by: frozenset[str] = frozenset()
    version: int = 1

    @staticmethod
    def define(
        name: str, permissions: frozenset[str], assignable_by: frozenset[str] = frozenset()
    ) -> "Role":
        """Return the first version of a role with names that fit a header, a scope and a person.

        Raises:
            InvalidRole: a name is not of the form `editor` or `posts:delete`.
        """
        for role_name in (name, *sorted(assignable_by)):
            if not ROLE_NAME.fullmatch(role_name):
                raise InvalidRole(f"{role_name!r} is not a role name such as `editor`.")
        for permission in sorted(permissions):
            if not PERMISSION_NAME.fullmatch(permission):
                raise InvalidRole(f"{permission!r} is not a permission such as `posts:delete`.")
        return Role(name, permissions, assignable_by)

    def redefined(self, defined: "Role") -> "Role":
        """Return the next version of this role, with everything else as in `defined`."""
        return replace(defined, version=self.version + 1)


USER_ROLE = Role("user", frozenset({"profile:read", "profile:write"}))
"""What everybody who registers gets."""

ADMIN_ROLE = Role(
    "admin",
    USER_ROLE.permissions
    | {
        "users:read",
        "users:write",
        "roles:assign",
        "roles:write",
        "sessions:revoke",
        "audit:read",
    },
)
"""What an operator's administrator gets."""

BUILT_IN_ROLES = (USER_ROLE, ADMIN_ROLE)
"""The roles that a new store holds."""


def permissions_of(roles: frozenset[Role]) -> frozenset[str]:
    """Return every permission that any of these roles gives."""
    return _NOTHING.union(*[role.permissions for role in roles])


def require_verified_administrator(roles: frozenset[Role], verified_at: datetime | None) -> None:
    """Return unless these roles make an administrator of somebody with an unverified address.

    Whoever registers an address first chooses its password. The role `admin` must not go to a
    stranger who did so before the administrator came.

    Args:
        roles: what is granted.
        verified_at: when the address was verified, None for never.

    Raises:
        AdministratorUnverified: the role `admin` is granted, and the address is not verified.
    """
    if verified_at is None and any(role.name == ADMIN_ROLE.name for role in roles):
        raise AdministratorUnverified


@dataclass(frozen=True, slots=True)
class User:
    """A person who can log in.

    Attributes:
        email: as the person wrote it; unique by its `canonical_email`.
        password_hash: a PHC string; holds its own parameters and salt.
        roles: with the permissions that they had when the user was read.
        epoch: raised by each change after which older access tokens must die.
        version: raised by each change; a save of a version that is not the next one is stale.
        email_verified_at: when somebody who reads mail to this address said so, None for never.
        credentials_version: raised by each change of the password, the address or the status; a
            one-time token that was made for another one is void.
        failed_logins: wrong passwords since the last right one, from anywhere.
        last_failed_login_at: when the last of them was given.
        deletion_due_at: when the user is erased, None for never.
    """

    id: UserId
    email: str
    password_hash: str
    display_name: str | None
    status: UserStatus
    roles: frozenset[Role]
    epoch: int
    version: int
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None
    email_verified_at: datetime | None = None
    credentials_version: int = 0
    failed_logins: int = 0
    last_failed_login_at: datetime | None = None
    deletion_due_at: datetime | None = None

    def __repr__(self) -> str:
        # The hash is a secret too: a trace or a log line must not carry it.
        return f"User(id={self.id!s}, status={self.status!s}, version={self.version})"

    @property
    def is_active(self) -> bool:
        """Whether the user may refresh, change things and hold what an administrator holds."""
        return self.status is UserStatus.ACTIVE

    def may_log_in(self, now: datetime) -> bool:
        """Return whether the right password lets the user in, which takes a deletion back."""
        if self.status is UserStatus.DELETING:
            return self.deletion_due_at is not None and now < self.deletion_due_at
        return self.is_active

    @property
    def role_names(self) -> frozenset[str]:
        """The names of the user's roles."""
        return frozenset([role.name for role in self.roles])

    @property
    def permissions(self) -> frozenset[str]:
        """Every permission that any of the user's roles gives."""
        return permissions_of(self.roles)

    def logged_in(self, at: datetime, *, password_hash: str) -> "User":
        """Return the next version after a login at `at`, with the hash as it now is.

        The version moves with each login, so that a login and a password change of the same
        user can't both succeed on what they read before. It forgets wrong passwords, and takes
        back a deletion that is not due.
        """
        return replace(
            self,
            status=UserStatus.ACTIVE,
            last_login_at=at,
            password_hash=password_hash,
            failed_logins=0,
            last_failed_login_at=None,
            deletion_due_at=None,
            version=self.version + 1,
        )

    def failed_to_log_in(self, at: datetime, *, at_most: int) -> "User":
        """Return the next version after a wrong password; a login under way starts again.

        Args:
            at: when.
            at_most: so many count; one beyond them changes nothing but the version.
        """
        if self.failed_logins >= at_most:
            return replace(self, version=self.version + 1)
        return replace(
            self,
            failed_logins=self.failed_logins + 1,
            last_failed_login_at=at,
            version=self.version + 1,
        )

    def with_password(self, password_hash: str, at: datetime) -> "User":
        """Return the next version with a new password; older access tokens die by the epoch."""
        return replace(
            self,
            password_hash=password_hash,
            credentials_version=self.credentials_version + 1,
            epoch=self.epoch + 1,
            version=self.version + 1,
            updated_at=at,
        )

    def with_reset_password(self, password_hash: str, at: datetime) -> "User":
        """Return the next version with a password set by mail.

        Wrong passwords are forgotten, and who reads the mail has shown that the address is theirs.
        """
        return replace(
            self.with_password(password_hash, at),
            failed_logins=0,
            last_failed_login_at=None,
            email_verified_at=self.email_verified_at or at,
        )

    def with_verified_email(self, at: datetime) -> "User":
        """Return the next version whose address is known to be the user's."""
        return replace(self, email_verified_at=at, version=self.version + 1, updated_at=at)

    def with_email(self, email: str, at: datetime) -> "User":
        """Return the next version with another address, which is known to be the user's."""
        return replace(
            self.with_verified_email(at),
            email=email,
            credentials_version=self.credentials_version + 1,
        )

    def leaving(self, at: datetime, *, due: datetime) -> "User":
        """Return the next version, which is erased when `due`; older access tokens die."""
        return replace(
            self.with_status(UserStatus.DELETING, at),
            deletion_due_at=due,
        )

    def with_display_name(self, display_name: str | None, at: datetime) -> "User":
        """Return the next version with another display name."""
        return replace(self, display_name=display_name, version=self.version + 1, updated_at=at)

    def with_status(self, status: UserStatus, at: datetime) -> "User":
        """Return the next version with another status; older access tokens die by the epoch."""
        return self.administered(at, status=status, display_name=self.display_name)

    def administered(self, at: datetime, *, status: UserStatus, display_name: str | None) -> "User":
        """Return the next version; older access tokens die by the epoch if the status changes.

        Who is made active is not erased any more; who is disabled still is, if it is due.
        """
        return replace(
            self,
            status=status,
            deletion_due_at=None if status is UserStatus.ACTIVE else self.deletion_due_at,
            credentials_version=self.credentials_version + (status is not self.status),
            display_name=display_name,
            epoch=self.epoch + (status is not self.status),
            version=self.version + 1,
            updated_at=at,
        )

    def with_roles(self, roles: frozenset[Role], at: datetime) -> "User":
        """Return the next version with other roles; older access tokens die by the epoch."""
        return replace(
            self, roles=roles, epoch=self.epoch + 1, version=self.version + 1, updated_at=at
        )

    def taken_over(self, password_hash: str, roles: frozenset[Role], at: datetime) -> "User":
        """Return the next version after an operator took the account over.

        Nothing that a former holder of the account set stays: the password and the display name
        are replaced, older access tokens and links are void, and wrong passwords are forgotten.
        The operator vouches for the address.
        """
        return replace(
            self.with_password(password_hash, at),
            display_name=None,
            status=UserStatus.ACTIVE,
            deletion_due_at=None,
            roles=roles,
            email_verified_at=self.email_verified_at or at,
            failed_logins=0,
            last_failed_login_at=None,
        )

    def confirmed(self) -> "User":
        """Return the next version after the password was said again, which changes nothing else.

        The version moves, so that it can't overtake a wrong password that was noted before.
        """
        return replace(self, version=self.version + 1)

    def logged_out_elsewhere(self) -> "User":
        """Return the next version that makes a login that read the one before start again."""
        return replace(self, version=self.version + 1)

    def logged_out_everywhere(self, at: datetime) -> "User":
        """Return the next version after which every older access token is dead."""
        return replace(self, epoch=self.epoch + 1, version=self.version + 1, updated_at=at)


def fold_address(text: str) -> str:
    """Return the form in which addresses, and parts of them, are compared: NFC, case folded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def canonical_email(address: str) -> str:
    """Return the form by which two spellings of an address count as one: NFC, case folded.

    Deliveries validate the syntax with a library; this only refuses what can't be an address.

    Args:
        address: as the person wrote it.

    Raises:
        InvalidEmail: it can't be an e-mail address.
    """
    if (
        not 3 <= len(address) <= MAX_EMAIL_LENGTH
        # Of what is white, a space alone counts as printable.
        or not address.isprintable()
        or " " in address
        or "@" not in address[1:-1]
    ):
        raise InvalidEmail
    return fold_address(address)
