"""A command loads what it needs: who asks for a setting waits for no web framework."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_RUN = """
import atexit, sys
atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))
sys.argv = ["keyturn", *sys.argv[1:]]
from keyturn.__main__ import run_command_line
run_command_line()
"""

_STARTED_AS_A_PROGRAM = """
import atexit, sys
atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))
sys.argv = ["keyturn", *sys.argv[1:]]
import runpy
runpy.run_module("keyturn", run_name="__main__")
"""

_WORK = """
import logging.config, sys
from keyturn.adapters.structlog.configuration import logging_configuration
from keyturn.main import create_worker_app
logging.config.dictConfig(logging_configuration("json", "warning"))
create_worker_app()
print(*sorted(sys.modules), file=sys.stderr)
"""

_BUILT_MODELS = """
import sys
import keyturn.delivery.http.app
from pydantic import BaseModel

def below(cls):
    for each in cls.__subclasses__():
        yield each
        yield from below(each)

ours = [cls for cls in below(BaseModel) if cls.__module__.startswith("keyturn.delivery.")]
answers = [cls for cls in ours if cls.model_config.get("defer_build")]
assert len(answers) > 20
built = [cls.__name__ for cls in answers if cls.__pydantic_complete__]
print(*built, file=sys.stderr)
"""

_SERVE = """
import sys
from keyturn.main import create_app
create_app()
print(*sorted(sys.modules), file=sys.stderr)
"""

Load = Callable[..., set[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Runs a program with arguments, and returns the packages that it has loaded."""

    def load(program: str, *arguments: str) -> set[str]:
        source = Path(__file__).parents[2] / "src"
        environment = os.environ | {"KEYTURN_DATA_DIR": str(tmp_path), "PYTHONPATH": str(source)}
        run = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return {name.partition(".")[0] for name in run.stderr.split()}

    return load


@pytest.mark.parametrize(
    "arguments", [("--help",), ("version",), ("config",), ("clients", "list"), ("keys", "--help")]
)
def test_a_command_that_only_tells_loads_nothing_that_serves(
    arguments: tuple[str, ...], load: Load
) -> None:
    loaded = load(_RUN, *arguments)
    assert "keyturn" in loaded
    assert not loaded & {
        "alembic", "argon2", "cryptography", "dependency_injector", "fastapi", "httpx", "jwt",
        "limits", "prometheus_client", "redis", "sqlalchemy", "starlette", "structlog", "uvicorn", "zxcvbn",
    }  # fmt: skip


def test_the_keys_are_looked_after_with_what_signs_alone(load: Load) -> None:
    load(_SERVE)
    loaded = load(_RUN, "keys", "list")
    assert "cryptography" in loaded
    assert not loaded & {
        "alembic", "argon2", "dependency_injector", "fastapi", "httpx", "prometheus_client",
        "redis", "sqlalchemy", "starlette", "structlog", "uvicorn", "zxcvbn",
    }  # fmt: skip


def test_a_service_loads_nothing_that_it_may_never_need(load: Load) -> None:
    loaded = load(_SERVE)
    assert "fastapi" in loaded
    assert not loaded & {
        "aiosmtplib", "alembic", "asyncpg", "httpx", "jinja2", "redis", "rich",
        "structlog", "tomllib", "typer", "ua_parser", "zxcvbn",
    }  # fmt: skip


def test_a_worker_that_writes_no_line_loads_neither_commands_nor_what_shapes_lines(
    load: Load,
) -> None:
    loaded = load(_WORK)
    assert "fastapi" in loaded
    assert not loaded & {"structlog", "typer"}


def test_a_service_that_starts_makes_nothing_that_only_an_answer_needs(load: Load) -> None:
    assert load(_BUILT_MODELS) == set()


def test_a_plugin_of_pydantic_sees_nothing_of_what_people_send(load: Load, tmp_path: Path) -> None:
    (tmp_path / "spy.py").write_text(
        "class Spy:\n    def new_schema_validator(self, *_): return None, None, None\nspy = Spy()\n"
    )
    package = tmp_path / "spy-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: spy\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[pydantic]\nspy = spy:spy\n")
    assert "spy" in load(_SERVE)
    assert "spy" not in load(_STARTED_AS_A_PROGRAM, "config")
