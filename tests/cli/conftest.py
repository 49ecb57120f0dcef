"""Carries out commands and serves, in an empty folder with nothing set."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from keyturn.main import run_command_line

SOURCE = Path(__file__).parents[2] / "src"
CHEAP_HASHES = {
    "KEYTURN_ARGON2_TIME_COST": "5",
    "KEYTURN_ARGON2_MEMORY_KIB": "7168",
    "KEYTURN_ARGON2_PARALLELISM": "1",
}


class Ended(NamedTuple):
    """How a command ended, and what it wrote."""

    code: object
    out: str
    err: str


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An empty folder, and nothing set but cheap hashes; a test adds to it."""
    set_cheap_hashes(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


@pytest.fixture
def keyturn(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Carries out a command in this process, which is much faster than in one of its own."""

    def run(*arguments: str) -> Ended:
        environment.setattr(sys, "argv", ["keyturn", *arguments])
        with pytest.raises(SystemExit) as end:
            run_command_line()
        return Ended(end.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def serving(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., AbstractContextManager[str]]:
    """Serves for as long as a block lasts, hands over what it says, sees that it ends cleanly."""
    return partial(serve, tmp_path)


@pytest.fixture(scope="module")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service of `served` keeps its data."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def served(served_folder: Path) -> Iterator[str]:
    """What a service says on starting with nothing set, for tests that leave it as it is."""
    with pytest.MonkeyPatch.context() as patch:
        set_cheap_hashes(patch)
        with serve(served_folder) as banner:
            yield banner


def set_cheap_hashes(patch: pytest.MonkeyPatch) -> None:
    for name, value in CHEAP_HASHES.items():
        patch.setenv(name, value)


@contextmanager
def serve(folder: Path, *arguments: str) -> Iterator[str]:
    log = folder / "stderr.txt"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "keyturn", "serve", "--port", "0", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            # It listens already when it says where: a request waits for the first worker.
            yield banner_of(process, log)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def banner_of(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    banner = ""
    for line in process.stdout:
        banner += line
        if "/v1/auth/refresh" in line:
            return banner
    pytest.fail(f"it did not start: {log.read_text()}")
