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
LOCKS = {"server": {"server"}, "dev": {"server", "dev"}, "bench": {"server", "bench"}}


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
