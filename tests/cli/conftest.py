"""Carries out commands, and keeps one service for those tests that leave it as it is."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from keyturn.delivery.cli import commands
from keyturn.main import CommandLineOperations


@pytest.fixture(autouse=True)
def nothing_left_set() -> Iterator[None]:
    """`serve` tells its workers the issuer through the environment: no later test must see it."""
    before = os.environ.copy()
    yield
    for name in os.environ.keys() - before.keys():
        if name.startswith("KEYTURN_"):
            del os.environ[name]


class Ended(NamedTuple):
    """How a command ended, and what it wrote."""

    code: object
    out: str
    err: str


@pytest.fixture
def keyturn(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Carries out a command in this process, which is much faster than in one of its own."""

    def run(*arguments: str) -> Ended:
        environment.setattr(sys, "argv", ["keyturn", *arguments])
        with pytest.raises(SystemExit) as end:
            commands.run(CommandLineOperations())
        return Ended(end.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service of `served` keeps its data."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def served(
    served_folder: Path,
    serve_in: Callable[..., AbstractContextManager[str]],
    unset_all: Callable[[pytest.MonkeyPatch], None],
) -> Iterator[str]:
    """What a service says on starting with nothing set, for tests that leave it as it is."""
    with pytest.MonkeyPatch.context() as patch:
        unset_all(patch)
        with serve_in(served_folder) as banner:
            yield banner
