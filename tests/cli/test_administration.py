"""What an operator does with users and sessions, on a real database."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Protocol

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PASSWORD = "a passphrase of my own"
ADMIN = "ada@example.com"
NOBODY = "00000000-0000-0000-0000-000000000001"


class Ended(Protocol):
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def create_admin(keyturn: Run, environment: pytest.MonkeyPatch) -> Callable[[str], Ended]:
    """Makes an administrator, the password coming in through a pipe."""

    def create(email: str = ADMIN, password: str = PASSWORD, *options: str) -> Ended:
        environment.setattr("sys.stdin", StringIO(f"{password}\n"))
        return keyturn("create-admin", "--email", email, *options)

    return create


Create = Callable[..., Ended]


def users(keyturn: Run, *options: str) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = json.loads(keyturn("users", "list", "--json", *options).out)
    return listed


def test_an_administrator_is_made_with_a_password_from_standard_input(
    create_admin: Create, keyturn: Run
) -> None:
    made = create_admin()
    assert (made.code, made.err) == (0, "")
    [user] = users(keyturn)
    assert made.out == f"{ADMIN} is an administrator now: {user['id']}\n"
    assert user["roles"] == ["admin", "user"]


def test_the_address_of_an_administrator_must_be_one(create_admin: Create) -> None:
    refused = create_admin("ada")
    assert refused.code == 2
    assert refused.err.startswith("keyturn: --email: ")


def test_a_weak_password_is_refused(create_admin: Create) -> None:
    refused = create_admin(password="short")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "keyturn: A password has at least 15 characters.\n"


def test_no_password_is_refused(create_admin: Create) -> None:
    assert create_admin(password="").err == "keyturn: there is no password on standard input\n"


def test_an_address_that_is_taken_is_refused_with_what_to_do(create_admin: Create) -> None:
    create_admin()
    refused = create_admin()
    assert refused.code == 2
    assert f"{ADMIN} is registered already" in refused.err
    assert "--take-over" in refused.err
    assert "set-roles" not in refused.err


def test_an_account_is_taken_over_when_the_operator_says_so(
    create_admin: Create, keyturn: Run
) -> None:
    create_admin()
    create_admin("other@example.com")
    assert keyturn("users", "set-roles", ADMIN, "user").code == 0
    taken = create_admin(ADMIN, "another one of mine", "--take-over")
    assert (taken.code, taken.err) == (0, "")
    assert "is an administrator now" in taken.out
    roles = {user["email"]: user["roles"] for user in users(keyturn)}
    assert roles[ADMIN] == ["admin", "user"]
    # An address that nobody has registered is no reason to refuse.
    assert create_admin("third@example.com", PASSWORD, "--take-over").code == 0


def test_who_may_grant_a_role_is_said_with_its_definition(
    create_admin: Create, keyturn: Run
) -> None:
    create_admin()
    made = keyturn("roles", "define", "support", "users:read", "--assignable-by", "lead")
    assert made.out.splitlines() == [
        "support permits: users:read",
        "Besides its holders, it is granted by: lead",
    ]
    kept = keyturn("roles", "define", "support")
    assert kept.out.splitlines()[1] == "Besides its holders, it is granted by: lead"
    removed = keyturn("roles", "define", "support", "--assignable-by", "")
    assert removed.out == "support permits: nothing\n"


def test_the_password_is_asked_for_twice_on_a_terminal_and_not_shown(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown, code = at_a_terminal(tmp_path, PASSWORD, PASSWORD)
    assert code == 0, shown
    assert "Password: " in shown
    assert "is an administrator now" in shown
    assert PASSWORD not in shown


def test_two_passwords_that_differ_are_refused(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown, code = at_a_terminal(tmp_path, PASSWORD, "another one of mine")
    assert code == 2
    assert "the two passwords differ" in shown


@pytest.mark.parametrize("option", ["--password", "--password=x"])
def test_the_password_can_not_be_an_argument(option: str, keyturn: Run) -> None:
    assert keyturn("create-admin", "--email", ADMIN, option).code == 2


def test_users_are_found_by_their_role(create_admin: Create, keyturn: Run) -> None:
    create_admin()
    [user] = users(keyturn, "--role", "admin")
    assert user["email"] == ADMIN
    assert users(keyturn, "--role", "editor") == []


def test_users_are_listed_for_people(create_admin: Create, keyturn: Run) -> None:
    create_admin()
    head, line = keyturn("users", "list", "--email", "ADA@", "--status", "active").out.splitlines()
    assert head.lower().split() == [
        *("id", "email", "verified", "status", "roles"),
        *("created_at", "last_login_at", "deletion_due_at"),
    ]
    assert line.split()[1:6] == [ADMIN, "True", "active", "admin", "user"]
    assert line.split()[-1] == "-"
    assert head.index("EMAIL") == line.index(ADMIN)


def test_somebody_is_erased_only_if_the_operator_is_sure(
    create_admin: Create, keyturn: Run
) -> None:
    create_admin()
    create_admin("eve@example.com")
    assert "say --yes" in keyturn("users", "delete", "eve@example.com").err
    assert len(users(keyturn)) == 2
    assert keyturn("users", "delete", "eve@example.com", "--yes").out == (
        "eve@example.com is erased.\n"
    )
    assert [user["email"] for user in users(keyturn)] == [ADMIN]
    last = keyturn("users", "delete", ADMIN, "--yes")
    assert last.err.startswith("keyturn: The last administrator can't be")


def test_nobody_is_listed_in_words(create_admin: Create, keyturn: Run) -> None:
    create_admin()
    assert keyturn("users", "list", "--email", "eve").out == "No user.\n"


def test_somebody_is_disabled_and_enabled_by_address_or_id(
    create_admin: Create, keyturn: Run
) -> None:
    create_admin()
    create_admin("eve@example.com")
    [eve] = users(keyturn, "--email", "eve")
    assert keyturn("users", "disable", "Eve@example.com").out == (
        "eve@example.com is disabled and has: admin user\n"
    )
    assert keyturn("users", "enable", str(eve["id"])).out == (
        "eve@example.com is active and has: admin user\n"
    )


def test_roles_are_replaced(create_admin: Create, keyturn: Run) -> None:
    create_admin()
    create_admin("eve@example.com")
    assert keyturn("users", "set-roles", "eve@example.com", "user").out == (
        "eve@example.com is active and has: user\n"
    )
    assert keyturn("users", "set-roles", "eve@example.com").out.endswith("has: no role\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["users", "disable", "eve@example.com"], "There is no such user."),
        (["users", "disable", NOBODY], "There is no such user."),
        (["users", "disable", "eve"], "eve is no user's id nor an e-mail address"),
        (["users", "disable", ADMIN], "The last administrator can't be demoted"),
        (["users", "set-roles", ADMIN, "user"], "The last administrator can't be demoted"),
        (["users", "set-roles", ADMIN, "editor"], "There is no role 'editor'."),
        (["sessions", "list", "eve@example.com"], "There is no such user."),
        (["sessions", "revoke", ADMIN], "name one session, or say --all"),
        (["sessions", "revoke", ADMIN, NOBODY, "--all"], "name one session, or say --all"),
        (["sessions", "revoke", ADMIN, NOBODY], "There is no such session."),
        (["sessions", "revoke", ADMIN, "x\x1b[2J"], "x?[2J is no session's id"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(
    arguments: list[str], problem: str, create_admin: Create, keyturn: Run
) -> None:
    create_admin()
    refused = keyturn(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"keyturn: {problem}")
    assert len(refused.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["users", "list"], ["sessions", "list", ADMIN], ["purge"]])
def test_looking_where_there_is_nothing_makes_nothing(
    arguments: list[str], keyturn: Run, tmp_path: Path
) -> None:
    refused = keyturn(*arguments)
    assert refused.code == 2
    assert refused.err.endswith("there is no such database; run keyturn migrate\n")
    assert list(tmp_path.iterdir()) == []


def test_purge_says_what_it_removed(create_admin: Create, keyturn: Run) -> None:
    create_admin()
    assert re.fullmatch(
        r"Erased 0 users\. Removed 0 sessions, 0 revocations, 0 audit events, "
        r"0 links of mails and 0 dead mails\.\n",
        keyturn("purge").out,
    )


def at_a_terminal(folder: Path, *answers: str) -> tuple[str, int]:
    """Make an administrator at a terminal of its own; return what it shows and how it ends."""
    ours, its = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "keyturn", "create-admin", "--email", ADMIN],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    ) as process:
        os.close(its)
        shown, asked = b"", 0
        left = list(answers)
        # The end of the other side is an error or an empty read, as the system likes it.
        with suppress(OSError):
            while read := os.read(ours, 4096):
                shown += read
                if left and shown.count(b": ") > asked and shown.endswith(b": "):
                    asked = shown.count(b": ")
                    os.write(ours, left.pop(0).encode() + b"\n")
        os.close(ours)
        code = process.wait(timeout=60)
    return shown.decode(), code


def test_a_role_with_a_permission_of_another_service_is_defined(keyturn: Run) -> None:
    keyturn("migrate")
    defined = keyturn("roles", "define", "author", "notes:write", "notes:read")
    assert (defined.code, defined.out) == (0, "author permits: notes:read, notes:write\n")
    assert keyturn("roles", "define", "author").out == "author permits: nothing\n"
    for wrong in (["no name"], ["author", "everything"], ["admin"]):
        refused = keyturn("roles", "define", *wrong)
        assert (refused.code, refused.out) == (2, "")
