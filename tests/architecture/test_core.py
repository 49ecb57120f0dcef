"""The core is plain Python: no package, no clock, no randomness, nothing of the machine."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
CORE = [
    path
    for folder in ("domain", "ports", "use_cases")
    for path in sorted((SOURCE / "keyturn" / folder).rglob("*.py"))
]
OF_THE_CORE = ("keyturn.domain", "keyturn.ports", "keyturn.use_cases")
PORTS_INSTEAD = {
    "asyncio",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "threading",
    "time",
}
"""Modules of the standard library that reach for what a port gives."""

MAKERS = {"now", "utcnow", "today", "uuid1", "uuid4", "uuid6", "uuid7", "uuid8"}
CLASSES_WITH_MAKERS = {"date", "datetime", "uuid"}


def offences(source: str) -> Iterator[str]:
    """Yield what a module of the core does that it must not."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                modules = [name.name for name in names]
            case ast.ImportFrom(module=str(module), names=names):
                modules = [module]
                yield from (f"{module}.{n.name}" for n in names if n.name in MAKERS)
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=made):
                modules = []
                if owner in CLASSES_WITH_MAKERS and made in MAKERS:
                    yield f"{owner}.{made}"
            case _:
                continue
        for module in modules:
            root = module.partition(".")[0]
            if root == "keyturn":
                if not module.startswith(OF_THE_CORE):
                    yield module
            elif root in PORTS_INSTEAD or root not in sys.stdlib_module_names:
                yield module


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(SOURCE / "keyturn")))
def test_a_module_of_the_core_asks_its_ports_for_everything(path: Path) -> None:
    assert list(offences(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pydantic",
        "from sqlalchemy import select",
        "import secrets",
        "from time import time",
        "import keyturn.adapters.memory",
        "from keyturn.settings import Settings",
        "from uuid import uuid4",
        "import uuid\nuuid.uuid4()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.now(datetime.UTC)",
        "from datetime import date\ndate.today()",
    ],
)
def test_what_it_must_not_do_is_found(source: str) -> None:
    assert list(offences(source))


def test_what_a_clock_says_is_no_offence() -> None:
    assert not list(offences("def f(self):\n    return self._clock.now()"))


def test_a_whole_service_in_memory_needs_the_standard_library_alone() -> None:
    program = "import keyturn.testing.in_memory, keyturn.testing.builders"
    # -S: no package that is installed can be found.
    subprocess.run(
        [sys.executable, "-S", "-c", program], env={"PYTHONPATH": str(SOURCE)}, check=True
    )


def test_nothing_that_serves_loads_what_is_for_tests() -> None:
    program = (
        "import sys, keyturn.main, keyturn.container, keyturn.doctor\n"
        "import keyturn.delivery.http.app, keyturn.delivery.cli.server\n"
        "print([name for name in sys.modules if name.startswith('keyturn.testing')])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout == "[]\n"
