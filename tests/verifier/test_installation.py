"""What `pip install keyturn` brings is enough to verify tokens and to log in."""

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
SERVER = {
    *("alembic", "argon2", "asyncpg", "dependency_injector", "dotenv"),
    *("email_validator", "fastapi_swagger", "prometheus_client", "pydantic_settings", "redis"),
    *("sqlalchemy", "structlog", "typer", "ua_parser", "uuid_utils", "uvicorn", "zxcvbn"),
}
WEB = {"fastapi", "pydantic", "starlette"}

REFUSE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(name)

MISSING = set(sys.argv[1:])
sys.meta_path.insert(0, Missing())
"""


def run(program: str, missing: set[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", REFUSE + program, *sorted(missing)],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("program", "missing"),
    [
        ("import keyturn.client, keyturn.verifier, keyturn.verifier.middleware", SERVER | WEB),
        (
            """
from asyncio import run
from keyturn.testing import make_token, make_verifier
run(make_verifier().authenticate(make_token()))
""",
            SERVER | WEB,
        ),
        ("import keyturn.verifier.fastapi", SERVER),
    ],
)
def test_nothing_of_the_server_is_needed(program: str, missing: set[str]) -> None:
    ended = run(program, missing)
    assert ended.returncode == 0, ended.stderr


def test_what_is_missing_would_be_noticed() -> None:
    assert run("import keyturn.verifier.fastapi", WEB).returncode == 1
    assert run("import keyturn.container", SERVER).returncode == 1
