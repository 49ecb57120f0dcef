"""The folder tree is the architecture, and whoever imports across it is found."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
LINTER = Path(sys.executable).with_name("lint-imports")

Lint = Callable[[], subprocess.CompletedProcess[str]]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINTER, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(PROJECT / ".importlinter", tmp_path)
    shutil.copytree(
        PROJECT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "assets")
    )
    return tmp_path


def test_nobody_imports_what_they_must_not() -> None:
    result = lint(PROJECT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        ("domain/user.py", "pydantic", "The core imports no third-party package"),
        ("use_cases/login_user.py", "sqlalchemy", "The core imports no third-party package"),
        ("domain/user.py", "keyturn.ports.system", "The folder tree is the architecture"),
        (
            "use_cases/login_user.py",
            "keyturn.adapters.system.clock",
            "The folder tree is the architecture",
        ),
        ("settings.py", "keyturn.adapters.system.clock", "The folder tree is the architecture"),
        ("delivery/http/app.py", "keyturn.container", "The folder tree is the architecture"),
        ("container.py", "keyturn.testing", "The folder tree is the architecture"),
        (
            "adapters/pyjwt/codec.py",
            "keyturn.adapters.system.clock",
            "Adapter folders do not import each other",
        ),
    ],
)
def test_a_forbidden_import_is_found(module: str, imported: str, contract: str, copy: Path) -> None:
    with (copy / "src" / "keyturn" / module).open("a") as source:
        source.write(f"\nimport {imported}\n")
    result = lint(copy)
    assert result.returncode == 1
    assert f"{contract} BROKEN" in result.stdout


def test_a_new_folder_must_be_given_its_place(copy: Path) -> None:
    (copy / "src" / "keyturn" / "helpers.py").write_text('"""Everything else."""\n')
    result = lint(copy)
    assert result.returncode == 1
    assert "helpers" in result.stdout
