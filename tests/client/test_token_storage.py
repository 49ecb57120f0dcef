"""Where a client keeps its tokens."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keyturn.client import (
    FileTokenStorage,
    MemoryTokenStorage,
    Tokens,
    TokenStorage,
    UnsafeTokenFile,
)
from keyturn.domain.secret import Secret

TOKENS = Tokens(
    Secret("access-1"),
    Secret("refresh-1"),
    "0198f3a2-7c40-7b02-8f6d-3c9a50d1e7aa",
    datetime(2030, 1, 1, 12, 12, tzinfo=UTC),
    datetime(2030, 1, 1, 12, 15, tzinfo=UTC),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_what_is_saved_is_loaded_until_it_is_cleared(kind: str, file: Path) -> None:
    storage: TokenStorage = MemoryTokenStorage() if kind == "memory" else FileTokenStorage(file)
    assert storage.load() is None
    storage.save(TOKENS)
    storage.save(TOKENS)
    assert storage.load() == TOKENS
    storage.clear()
    storage.clear()
    assert storage.load() is None


def test_the_file_is_its_owners_alone_whatever_the_umask(file: Path) -> None:
    before = os.umask(0)
    try:
        FileTokenStorage(file).save(TOKENS)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606, 0o620])
def test_a_file_that_others_may_use_is_not_trusted(file: Path, mode: int) -> None:
    storage = FileTokenStorage(file)
    storage.save(TOKENS)
    file.chmod(mode)
    with pytest.raises(UnsafeTokenFile, match="chmod 600"):
        storage.load()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"access_token": 1}'])
def test_a_file_that_holds_no_tokens_counts_as_empty(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o600)
    assert FileTokenStorage(file).load() is None


def test_a_save_that_fails_leaves_what_was_there(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FileTokenStorage(file)
    storage.save(TOKENS)

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        storage.save(TOKENS)
    assert storage.load() == TOKENS
    assert list(file.parent.iterdir()) == [file]


def test_tokens_do_not_show() -> None:
    assert "access-1" not in repr(TOKENS)
    assert "refresh-1" not in repr(TOKENS)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_device_token_outlives_the_login(kind: str, file: Path) -> None:
    storage: TokenStorage = MemoryTokenStorage() if kind == "memory" else FileTokenStorage(file)
    assert storage.load_device_token() is None
    storage.save(TOKENS)
    storage.save_device_token(Secret("device-1"))
    storage.save_device_token(Secret("device-2"))
    storage.clear()
    assert storage.load() is None
    assert storage.load_device_token() == Secret("device-2")


def test_the_file_of_the_device_is_its_owners_alone(file: Path) -> None:
    storage = FileTokenStorage(file)
    storage.save_device_token(Secret("device-1"))
    [written] = file.parent.iterdir()
    assert written.name == "tokens.json.device"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    written.chmod(0o644)
    with pytest.raises(UnsafeTokenFile, match="chmod 600"):
        storage.load_device_token()
