"""What is installed is what was meant: locked requirements, and a wheel that is complete."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
LOCKS = {"server": {"server"}, "dev": {"server", "testing", "dev"}, "bench": {"server", "bench"}}

WITHOUT_PYTEST = """
import sys

for name in ("pytest", "pytest_asyncio", "_pytest"):
    sys.modules[name] = None
"""


def without_pytest(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program as where the extra `testing` is not installed."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTEST + program],
        env={"PYTHONPATH": str(PROJECT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def wanted(groups: set[str]) -> set[str]:
    """The names that pyproject.toml asks for."""
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    lists = declared["project"]["optional-dependencies"] | declared["dependency-groups"]
    requirements = [
        *declared["project"]["dependencies"],
        *(r for group in {"build", *groups} for r in lists[group] if isinstance(r, str)),
    ]
    return {re.split(r"[\[<>=;~! ]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("lock", sorted(LOCKS))
def test_every_requirement_is_locked_with_hashes_and_names_no_index(lock: str) -> None:
    text = (PROJECT / "requirements" / f"{lock}.txt").read_text()
    entries = [e for e in re.split(r"\n(?=\S)", text) if not e.startswith("#")]
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry
        assert "://" not in entry
    assert wanted(LOCKS[lock]) <= {entry.partition("==")[0] for entry in entries}


def test_no_production_install_brings_a_test_framework() -> None:
    text = (PROJECT / "requirements" / "server.txt").read_text()
    locked = {line.partition("==")[0] for line in text.splitlines() if "==" in line}
    assert not {name for name in locked if "test" in name or name == "hypothesis"}
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    production = [*declared["dependencies"], *extras["server"], *extras["import"]]
    assert not [requirement for requirement in production if "pytest" in requirement]
    assert {re.split("[>=]", requirement)[0] for requirement in extras["testing"]} == {
        "pytest",
        "pytest-asyncio",
    }


def test_nothing_but_the_tools_for_tests_imports_a_test_framework() -> None:
    imported = without_pytest(
        "import importlib, pkgutil, keyturn\n"
        "for module in pkgutil.walk_packages(keyturn.__path__, 'keyturn.', onerror=lambda _: None):\n"
        "    if module.name.split('.')[1] not in {'testing', '__main__', 'migrations'}:\n"
        "        importlib.import_module(module.name)\n"
    )
    assert imported.returncode == 0, imported.stderr


KITS = sorted(path.stem for path in (PROJECT / "src" / "keyturn" / "testing").glob("*_contract.py"))


@pytest.mark.parametrize("kit", KITS)
def test_without_the_extra_a_contract_kit_says_in_one_line_what_to_install(kit: str) -> None:
    imported = without_pytest(f"import keyturn.testing.{kit}")
    assert imported.returncode == 1
    assert imported.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: the contract kits need pytest and pytest-asyncio: "
        "pip install 'keyturn[testing]'"
    )


def test_what_is_no_contract_kit_needs_no_extra() -> None:
    folder = PROJECT / "src" / "keyturn" / "testing"
    others = {path.stem for path in folder.glob("*.py")} - {*KITS, "__init__", "extra"}
    imported = without_pytest(
        "\n".join(f"import keyturn.testing.{name}" for name in sorted(others))
    )
    assert imported.returncode == 0, imported.stderr


def test_the_wheel_holds_migrations_and_templates_and_migrates(tmp_path: Path) -> None:
    built = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path, "."),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("keyturn-*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = (
        "import sys, keyturn.main, keyturn.__main__\n"
        "sys.stderr.write(keyturn.main.__file__)\n"
        "sys.argv[1:] = ['migrate']\n"
        "keyturn.__main__.run_command_line()"
    )
    # Before what this environment has installed, which may be the working tree.
    migrated = subprocess.run(
        [sys.executable, "-c", program],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert migrated.stderr == str(installed / "keyturn" / "main.py")
    assert migrated.stdout.startswith("The database is at ")
    assert (elsewhere / "data" / "keyturn.db").exists()
    assert (installed / "keyturn" / "py.typed").exists()
    templates = Path("keyturn", "adapters", "jinja2", "templates")
    shipped = {path.name for path in (PROJECT / "src" / templates).iterdir()}
    assert {path.name for path in (installed / templates).iterdir()} == shipped
