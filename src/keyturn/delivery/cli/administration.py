"""What an operator does with users and sessions, through the same use-cases as everybody."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from getpass import getpass
from typing import Annotated
from uuid import UUID

import typer

from keyturn.delivery.cli.operations import Administration, Operations, Refusal
from keyturn.domain.errors import EmailTaken
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.secret import Secret
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, Role, User, UserStatus
from keyturn.ports.persistence import UserFilter
from keyturn.use_cases.assign_roles import AssignRolesCommand
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.end_session import EndSessionCommand
from keyturn.use_cases.list_sessions import ListSessionsQuery, Session
from keyturn.use_cases.list_users import MAX_PAGE, ListUsersQuery
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand

_User = Annotated[str, typer.Argument(metavar="USER", help="The user's id or e-mail address.")]
_AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for a program.")]


def add_administration(cli: typer.Typer, operations: Operations) -> None:
    """Add the commands to a command line."""
    _add_create_admin(cli, operations)
    _add_users(cli, operations)
    _add_roles(cli, operations)
    _add_sessions(cli, operations)

    @cli.command()
    def purge() -> None:
        """Remove sessions, revocations and audit events that are over for long enough."""
        purged = operations.administer(
            lambda administration: administration.purge_expired.execute()
        )
        print(
            f"Removed {purged.families} sessions, {purged.revocations} revocations and "
            f"{purged.audit_events} audit events."
        )


def _add_create_admin(cli: typer.Typer, operations: Operations) -> None:
    @cli.command("create-admin")
    def create_admin(
        email: Annotated[str, typer.Option(help="The e-mail address to log in with.")],
    ) -> None:
        """Make an administrator; asks for the password, or reads it from standard input."""
        address = _checked_email(email)
        password = _read_password()

        async def work(administration: Administration) -> User:
            roles = frozenset({USER_ROLE.name, ADMIN_ROLE.name})
            try:
                return await administration.register_user.execute(
                    RegisterUserCommand(address, password, roles=roles)
                )
            except EmailTaken:
                known = await administration.get_user.by_email(address)
                wanted = " ".join(sorted(known.role_names | {ADMIN_ROLE.name}))
                raise Refusal(
                    f"{address} is registered already; to make them an administrator: "
                    f"keyturn users set-roles {address} {wanted}"
                ) from None

        user = operations.administer(work, makes_database=True)
        print(f"{user.email} is an administrator now: {user.id}")


def _add_users(cli: typer.Typer, operations: Operations) -> None:
    users = typer.Typer(help="Look through users and change them.", no_args_is_help=True)
    cli.add_typer(users, name="users")

    @users.command("list")
    def list_users(
        email: Annotated[str | None, typer.Option(help="A part of the address.")] = None,
        role: Annotated[str | None, typer.Option(help="A role that they hold.")] = None,
        status: Annotated[UserStatus | None, typer.Option(help="Their status.")] = None,
        *,
        as_json: _AsJson = False,
    ) -> None:
        """List users in the order in which they registered."""
        which = UserFilter(email, status, role)

        async def work(administration: Administration) -> list[User]:
            found: list[User] = []
            after = None
            while True:
                page = await administration.list_users.execute(
                    ListUsersQuery(which, after, MAX_PAGE)
                )
                found += page.users
                after = page.next_after
                if after is None:
                    return found

        _print_all(
            [
                {
                    "id": str(user.id),
                    "email": user.email,
                    "status": user.status.value,
                    "roles": sorted(user.role_names),
                    "created_at": _told(user.created_at),
                    "last_login_at": _told(user.last_login_at),
                }
                for user in operations.administer(work)
            ],
            as_json=as_json,
            nothing="No user.",
        )

    @users.command()
    def disable(user: _User) -> None:
        """Keep somebody out: their sessions end, their access tokens die."""
        print(_shown(_set_status(operations, user, UserStatus.DISABLED)))

    @users.command()
    def enable(user: _User) -> None:
        """Let somebody in again."""
        print(_shown(_set_status(operations, user, UserStatus.ACTIVE)))

    @users.command("set-roles")
    def set_roles(
        user: _User,
        roles: Annotated[
            list[str] | None,
            typer.Argument(metavar="[ROLE]...", help="All the roles that they have then."),
        ] = None,
    ) -> None:
        """Replace somebody's roles; their access tokens die, their sessions go on."""

        async def work(administration: Administration) -> User:
            found = await _find(administration, user)
            return await administration.assign_roles.execute(
                AssignRolesCommand(found.id, frozenset(roles or ()), actor=None)
            )

        print(_shown(operations.administer(work)))


def _add_roles(cli: typer.Typer, operations: Operations) -> None:
    roles = typer.Typer(help="Say what roles permit.", no_args_is_help=True)
    cli.add_typer(roles, name="roles")

    @roles.command("define")
    def define(
        name: Annotated[str, typer.Argument(metavar="NAME", help="Such as editor.")],
        permissions: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="[PERMISSION]...", help="All that it permits then, such as posts:delete."
            ),
        ] = None,
    ) -> None:
        """Make or change a role; the access tokens of everybody who has it die."""

        async def work(administration: Administration) -> Role:
            return await administration.define_role.execute(
                DefineRoleCommand(name, frozenset(permissions or ()), actor=None)
            )

        role = operations.administer(work)
        print(f"{role.name} permits: {', '.join(sorted(role.permissions)) or 'nothing'}")


def _add_sessions(cli: typer.Typer, operations: Operations) -> None:
    sessions = typer.Typer(help="Look at somebody's sessions and end them.", no_args_is_help=True)
    cli.add_typer(sessions, name="sessions")

    @sessions.command("list")
    def list_sessions(
        user: _User,
        *,
        ended: Annotated[
            bool, typer.Option("--ended", help="Also those that ended recently.")
        ] = False,
        as_json: _AsJson = False,
    ) -> None:
        """List where somebody is logged in, last used first."""

        async def work(administration: Administration) -> list[Session]:
            found = await _find(administration, user)
            return await administration.list_sessions.execute(
                ListSessionsQuery(found.id, with_ended=ended)
            )

        _print_all(
            [_session(session, with_end=ended) for session in operations.administer(work)],
            as_json=as_json,
            nothing="No session.",
        )

    @sessions.command()
    def revoke(
        user: _User,
        session: Annotated[
            str | None, typer.Argument(metavar="[SESSION]", help="The session's id.")
        ] = None,
        *,
        every: Annotated[bool, typer.Option("--all", help="Every session they have.")] = False,
    ) -> None:
        """End one session of somebody, or all; their access tokens die."""
        if every == (session is not None):
            raise Refusal("name one session, or say --all")
        ended = None if session is None else FamilyId(_id(session, "session"))

        async def work(administration: Administration) -> User:
            found = await _find(administration, user)
            if ended is None:
                await administration.revoke_all_families.execute(
                    RevokeAllFamiliesCommand(found.id, actor=None)
                )
            else:
                await administration.end_session.execute(
                    EndSessionCommand(found.id, ended, actor=None)
                )
            return found

        found = operations.administer(work)
        what = "Every session" if ended is None else f"Session {ended}"
        print(f"{what} of {found.email} has ended.")


def _set_status(operations: Operations, user: str, status: UserStatus) -> User:
    async def work(administration: Administration) -> User:
        found = await _find(administration, user)
        return await administration.change_user.execute(
            ChangeUserCommand(found.id, actor=None, status=status)
        )

    return operations.administer(work)


async def _find(administration: Administration, user: str) -> User:
    if "@" in user:
        return await administration.get_user.by_email(user)
    return await administration.get_user.execute(UserId(_id(user, "user")))


def _id(text: str, kind: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        address = " nor an e-mail address" if kind == "user" else ""
        raise Refusal(f"{_printable(text)} is no {kind}'s id{address}") from None


def _checked_email(text: str) -> str:

    from email_validator import (  # noqa: PLC0415 - it brings a DNS library along
        EmailNotValidError,
        validate_email,
    )

    try:
        return validate_email(text, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        raise Refusal(f"--email: {error}") from None


def _read_password() -> Secret:
    """Return the password, never from an argument or a variable: others could read it there."""
    if not sys.stdin.isatty():
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError:
            raise Refusal("the password on standard input is not text") from None
        password = line.removesuffix("\n").removesuffix("\r")
        if not password:
            raise Refusal("there is no password on standard input")
        return Secret(password)
    try:
        password = getpass("Password: ")
        repeated = getpass("Once more: ")
    except (EOFError, KeyboardInterrupt):
        raise Refusal("no password was given") from None
    if password != repeated:
        raise Refusal("the two passwords differ")
    return Secret(password)


def _session(session: Session, *, with_end: bool) -> dict[str, object]:
    told: dict[str, object] = {
        "id": str(session.id),
        "last_used_at": _told(session.last_used_at),
        "expires_at": _told(session.expires_at),
        "ip": session.device.ip,
        "device": session.device.name or session.device.user_agent,
    }
    if with_end:
        told["ended_at"] = _told(session.ended_at)
        told["reason"] = None if session.reason is None else session.reason.value
    return told


def _shown(user: User) -> str:
    roles = " ".join(sorted(user.role_names)) or "no role"
    return f"{user.email} is {user.status} and has: {roles}"


def _told(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _print_all(rows: list[dict[str, object]], *, as_json: bool, nothing: str) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print(nothing)
        return
    lines = [[name.upper() for name in rows[0]], *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = (f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def _cells(row: Mapping[str, object]) -> list[str]:
    return [
        " ".join(value) if isinstance(value, list) else _printable(str(value or "-"))
        for value in row.values()
    ]


def _printable(text: str) -> str:
    # What a client called its device must not steer an operator's terminal.
    return "".join(character if character.isprintable() else "?" for character in text)
