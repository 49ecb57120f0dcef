"""Where a client keeps its tokens."""

import json
import os
import secrets
import stat
from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from keyturn.domain.secret import Secret

_OWNER_ALONE = 0o600


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login or a refresh gave.

    Attributes:
        refresh_at: when to refresh, aware UTC.
        expires_at: when the access token ends, aware UTC.
    """

    access_token: Secret
    refresh_token: Secret
    session_id: str
    refresh_at: datetime
    expires_at: datetime


class TokenStorage(Protocol):
    """Keeps one login's tokens; called from any thread, one call at a time from each client.

    It also keeps the device token, which outlives the login. A storage that does not override its
    two methods keeps none: each login of the client is then one from an unknown device.
    """

    @abstractmethod
    def load(self) -> Tokens | None:
        """Return what was saved last, None if there is nothing."""

    @abstractmethod
    def save(self, tokens: Tokens) -> None:
        """Keep these instead of what was kept before: all of them, or as before."""

    @abstractmethod
    def clear(self) -> None:
        """Keep no tokens of a login; the device token stays."""

    def load_device_token(self) -> Secret | None:
        """Return the device token that was saved last, None if there is none."""
        return None

    def save_device_token(self, token: Secret) -> None:
        """Keep this device token instead of the one before."""
        del token


class MemoryTokenStorage(TokenStorage):
    """Keeps tokens as long as the process lives."""

    def __init__(self) -> None:
        """Start empty."""
        self._tokens: Tokens | None = None
        self._device_token: Secret | None = None

    def load(self) -> Tokens | None:
        """Return what was saved last."""
        return self._tokens

    def save(self, tokens: Tokens) -> None:
        """Keep these."""
        self._tokens = tokens

    def clear(self) -> None:
        """Keep no tokens of a login."""
        self._tokens = None

    def load_device_token(self) -> Secret | None:
        """Return the device token that was saved last."""
        return self._device_token

    def save_device_token(self, token: Secret) -> None:
        """Keep this device token."""
        self._device_token = token


class UnsafeTokenFile(Exception):
    """Others may read or write the file, so that its tokens may be anybody's."""


class FileTokenStorage(TokenStorage):
    """Keeps tokens in a file that only its owner can read.

    Processes that share the file share the login. They are best not to refresh at the same time;
    if they do, keyturn's grace window gives both the same tokens.

    The device token is in a second file beside it, whose name ends with `.device`.
    """

    def __init__(self, path: Path) -> None:
        """Keep tokens in `path`, whose folder exists."""
        self._path = path
        self._device_path = path.with_name(f"{path.name}.device")

    def load(self) -> Tokens | None:
        """Return what was saved last; a file that holds no tokens counts as empty.

        Raises:
            UnsafeTokenFile: others may read or write the file.
            OSError: it can't be read.
        """
        content = _read(self._path)
        if content is None:
            return None
        try:
            members = json.loads(content)
            return Tokens(
                access_token=Secret(members["access_token"]),
                refresh_token=Secret(members["refresh_token"]),
                session_id=members["session_id"],
                refresh_at=datetime.fromisoformat(members["refresh_at"]),
                expires_at=datetime.fromisoformat(members["expires_at"]),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def save(self, tokens: Tokens) -> None:
        """Keep these: written in full under another name, then renamed.

        Raises:
            OSError: the file can't be written.
        """
        content = json.dumps(
            {
                "access_token": tokens.access_token.reveal(),
                "refresh_token": tokens.refresh_token.reveal(),
                "session_id": tokens.session_id,
                "refresh_at": tokens.refresh_at.isoformat(),
                "expires_at": tokens.expires_at.isoformat(),
            }
        )
        _write(self._path, content)

    def clear(self) -> None:
        """Remove the file of the login; that of the device stays."""
        self._path.unlink(missing_ok=True)

    def load_device_token(self) -> Secret | None:
        """Return the device token that was saved last.

        Raises:
            UnsafeTokenFile: others may read or write the file.
            OSError: it can't be read.
        """
        content = _read(self._device_path)
        return None if content is None else Secret(content.decode("ascii", "replace"))

    def save_device_token(self, token: Secret) -> None:
        """Keep this device token: written in full under another name, then renamed.

        Raises:
            OSError: the file can't be written.
        """
        _write(self._device_path, token.reveal())


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if os.name == "posix" and stat.S_IMODE(mode) & ~_OWNER_ALONE:
                raise UnsafeTokenFile(f"{path}: others may use it; chmod 600 it")
            return stream.read()
    except FileNotFoundError:
        return None


def _write(path: Path, content: str) -> None:
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ALONE)
        with os.fdopen(handle, "w") as stream:
            stream.write(content)
            stream.flush()
            # A refresh token that is lost with the power is a login that is lost.
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
