"""What an operator does with users and sessions, through the same use-cases as everybody."""

import sys
from getpass import getpass
from typing import Annotated

import typer

from keyturn.delivery.cli.addresses import normalised_email
from keyturn.delivery.cli.imports import add_import
from keyturn.delivery.cli.operations import Administration, Operations, Refusal
from keyturn.delivery.cli.printing import AsJson, parse_id, print_rows, told
from keyturn.domain.errors import EmailTaken
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.secret import Secret
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, Role, User, UserStatus
from keyturn.ports.persistence import Purged, UserFilter
from keyturn.use_cases.assign_roles import AssignRolesCommand
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.end_session import EndSessionCommand
from keyturn.use_cases.erase_user import EraseUserCommand
from keyturn.use_cases.list_sessions import ListSessionsQuery, Session
from keyturn.use_cases.list_users import MAX_PAGE, ListUsersQuery
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand
from keyturn.use_cases.take_over_account import TakeOverAccountCommand

_User = Annotated[str, typer.Argument(metavar="USER", help="The user's id or e-mail address.")]


def add_administration(cli: typer.Typer, operations: Operations) -> None:
    """Add the commands to a command line."""
    _add_create_admin(cli, operations)
    _add_users(cli, operations)
    _add_roles(cli, operations)
    _add_sessions(cli, operations)

    @cli.command()
    def purge() -> None:
        """Erase users whose deletion is due, and remove what is over for long enough."""

        async def work(administration: Administration) -> tuple[int, Purged]:
            erased = await administration.erase_due_users.execute()
            return erased, await administration.purge_expired.execute()

        erased, purged = operations.administer(work)
        print(
            f"Erased {erased} users. Removed {purged.families} sessions, {purged.revocations} "
            f"revocations, {purged.audit_events} audit events, {purged.one_time_tokens} links of "
            f"mails and {purged.mails} dead mails."
        )


def _add_create_admin(cli: typer.Typer, operations: Operations) -> None:
    @cli.command("create-admin")
    def create_admin(
        email: Annotated[str, typer.Option(help="The e-mail address to log in with.")],
        *,
        take_over: Annotated[
            bool,
            typer.Option(
                "--take-over",
                help="If the address is registered: set this password, end all sessions and make "
                "that account an administrator.",
            ),
        ] = False,
    ) -> None:
        """Make an administrator; asks for the password, or reads it from standard input."""
        address = _checked_email(email)
        password = _read_password()

        async def work(administration: Administration) -> User:
            roles = frozenset({USER_ROLE.name, ADMIN_ROLE.name})
            try:
                return await administration.register_user.execute(
                    RegisterUserCommand(address, password, roles=roles, email_is_verified=True)
                )
            except EmailTaken:
                if not take_over:
                    raise Refusal(
                        f"{address} is registered already, perhaps by a stranger. With --take-over "
                        "the account gets this password, loses all its sessions and becomes an "
                        "administrator"
                    ) from None
                return await administration.take_over_account.execute(
                    TakeOverAccountCommand(address, password)
                )

        user = operations.administer(work, makes_database=True)
        print(f"{user.email} is an administrator now: {user.id}")


def _add_users(cli: typer.Typer, operations: Operations) -> None:
    users = typer.Typer(help="Look through users and change them.", no_args_is_help=True)
    cli.add_typer(users, name="users")
    add_import(users, operations)

    @users.command("list")
    def list_users(
        email: Annotated[str | None, typer.Option(help="A part of the address.")] = None,
        role: Annotated[str | None, typer.Option(help="A role that they hold.")] = None,
        status: Annotated[UserStatus | None, typer.Option(help="Their status.")] = None,
        *,
        as_json: AsJson = False,
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

        print_rows(
            [
                {
                    "id": str(user.id),
                    "email": user.email,
                    "verified": user.email_verified_at is not None,
                    "status": user.status.value,
                    "roles": sorted(user.role_names),
                    "created_at": told(user.created_at),
                    "last_login_at": told(user.last_login_at),
                    "deletion_due_at": told(user.deletion_due_at),
                }
                for user in operations.administer(work, only_reads=True)
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

    @users.command()
    def delete(
        user: _User,
        *,
        sure: Annotated[
            bool, typer.Option("--yes", help="Do it: there is no way back, and no time of grace.")
        ] = False,
    ) -> None:
        """Erase somebody at once; the audit trail keeps what happened, and not who it was."""
        if not sure:
            raise Refusal("say --yes: nobody can bring the user back")

        async def work(administration: Administration) -> User:
            found = await _find(administration, user)
            await administration.erase_user.execute(EraseUserCommand(found.id, actor=None))
            return found

        print(f"{operations.administer(work).email} is erased.")

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
        *,
        assignable_by: Annotated[
            list[str] | None,
            typer.Option(
                metavar="ROLE",
                help="A role whose holders may grant this one; may be repeated. Left out, nothing "
                "changes; an empty text removes all.",
            ),
        ] = None,
    ) -> None:
        """Make or change a role; a change of its permissions ends its holders' access tokens."""
        granting = None if assignable_by is None else frozenset(filter(None, assignable_by))

        async def work(administration: Administration) -> Role:
            return await administration.define_role.execute(
                DefineRoleCommand(
                    name, frozenset(permissions or ()), assignable_by=granting, actor=None
                )
            )

        role = operations.administer(work)
        print(f"{role.name} permits: {', '.join(sorted(role.permissions)) or 'nothing'}")
        if role.assignable_by:
            print(f"Besides its holders, it is granted by: {', '.join(sorted(role.assignable_by))}")


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
        as_json: AsJson = False,
    ) -> None:
        """List where somebody is logged in, last used first."""

        async def work(administration: Administration) -> list[Session]:
            found = await _find(administration, user)
            return await administration.list_sessions.execute(
                ListSessionsQuery(found.id, with_ended=ended)
            )

        print_rows(
            [
                _session(session, with_end=ended)
                for session in operations.administer(work, only_reads=True)
            ],
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
        ended = None if session is None else FamilyId(parse_id(session, "session"))

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
    return await administration.get_user.execute(UserId(parse_id(user, "user")))


def _checked_email(text: str) -> str:
    try:
        return normalised_email(text)
    except ValueError as error:
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
    line: dict[str, object] = {
        "id": str(session.id),
        "last_used_at": told(session.last_used_at),
        "expires_at": told(session.expires_at),
        "ip": session.device.ip,
        "device": session.device.name or session.device.user_agent,
    }
    if with_end:
        line["ended_at"] = told(session.ended_at)
        line["reason"] = None if session.reason is None else session.reason.value
    return line


def _shown(user: User) -> str:
    roles = " ".join(sorted(user.role_names)) or "no role"
    return f"{user.email} is {user.status} and has: {roles}"
