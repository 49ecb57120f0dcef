"""`keyturn users import`, on a real database."""

import json
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Protocol

import pytest

DJANGO = "pbkdf2_sha256$2000$vNl6PBczLJYID6CUxSDDoW$L0UjLVoASzM8Scg1zyxygxyE0sc3miQ4+UCoEeQ99YI="
BCRYPT = "$2b$04$ZVFT/QcspfTA8g7JayuCs.OGegvSgudmH0KSkNQix8lZk0DRHGN16"
UNKNOWN = "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99"


class Ended(Protocol):
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def import_lines(
    keyturn: Run, environment: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Ended]:
    """Imports what is given, as objects or as they stand in a file."""
    environment.setenv("KEYTURN_IMPORTED_HASHES", "true")

    def run(*lines: dict[str, object] | bytes) -> Ended:
        file = tmp_path / "users.jsonl"
        file.write_bytes(
            b"\n".join(
                line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
            )
        )
        return keyturn("users", "import", str(file))

    return run


def users(keyturn: Run) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = json.loads(keyturn("users", "list", "--json").out)
    return listed


def test_accounts_are_imported_and_a_second_time_skipped(
    import_lines: Callable[..., Ended], keyturn: Run
) -> None:
    lines: list[dict[str, object]] = [
        {"email": "ada@example.com", "password_hash": DJANGO, "display_name": "Ada 👩\u200d💻"},
        {"email": "Eve@Example.COM", "password_hash": BCRYPT, "email_verified": True},
        {
            "email": "root@example.com",
            "password_hash": BCRYPT,
            "roles": ["user", "admin"],
            "email_verified": True,
        },
    ]
    ended = import_lines(*lines)
    assert (ended.code, ended.out, ended.err) == (
        0,
        "Imported 3 users, skipped 0, refused 0.\n",
        "",
    )
    assert [(user["email"], user["roles"]) for user in users(keyturn)] == [
        ("ada@example.com", ["user"]),
        ("Eve@example.com", ["user"]),
        ("root@example.com", ["admin", "user"]),
    ]
    again = import_lines(*lines)
    assert (again.code, again.out) == (0, "Imported 0 users, skipped 3, refused 0.\n")
    assert again.err.splitlines()[0] == (
        "line 1: skipped: This e-mail address is already registered."
    )
    assert len(users(keyturn)) == 3


def test_each_line_that_is_wrong_is_told_by_its_number_and_the_others_are_imported(
    import_lines: Callable[..., Ended], keyturn: Run
) -> None:
    ended = import_lines(
        {"email": "ada@example.com", "password_hash": UNKNOWN},
        b"",
        {"email": "nobody", "password_hash": DJANGO},
        {"email": "bob@example.com"},
        {"email": "bob@example.com", "password_hash": DJANGO, "hunter2hunter2": "hunter2"},
        {"email": "bob@example.com", "password_hash": DJANGO, "email_verified": "yes"},
        {"email": "bob@example.com", "password_hash": DJANGO, "roles": ["editor"]},
        {"email": "bob@example.com", "password_hash": DJANGO, "display_name": "\x1b[2J"},
        b"hunter2",
        b'["hunter2"]',
        b"\xff\xfe",
        {"email": "eve@example.com", "password_hash": DJANGO},
    )
    assert (ended.code, ended.out) == (1, "Imported 1 users, skipped 0, refused 10.\n")
    told = ended.err.splitlines()
    assert [line.partition(":")[0] for line in told] == [
        f"line {number}" for number in (1, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    ]
    assert told[0].endswith("of no known format, or asks for too much work.")
    assert "email: " in told[1]
    assert "password_hash: Field required" in told[2]
    assert "There is no role 'editor'." in told[5]
    for secret in ("hunter2", "5f4dcc3b", "L0UjLVoA", "\x1b"):
        assert secret not in ended.err + ended.out
    assert [user["email"] for user in users(keyturn)] == ["eve@example.com"]


def test_accounts_come_from_standard_input(
    import_lines: Callable[..., Ended], keyturn: Run, environment: pytest.MonkeyPatch
) -> None:
    line = json.dumps({"email": "ada@example.com", "password_hash": DJANGO}).encode()
    environment.setattr("sys.stdin", TextIOWrapper(BytesIO(line + b"\n")))
    assert keyturn("users", "import", "-").out == "Imported 1 users, skipped 0, refused 0.\n"


def test_a_file_that_is_not_there_is_refused(keyturn: Run) -> None:
    refused = keyturn("users", "import", "nowhere.jsonl")
    assert refused.code == 2
    assert "nowhere.jsonl" in refused.err
