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
    """Keeps one login's tokens; called from any thread, one call at a time from each client."""

    @abstractmethod
    def load(self) -> Tokens | None:
        """Return what was saved last, None if there is nothing."""

    @abstractmethod
    def save(self, tokens: Tokens) -> None:
        """Keep these instead of what was kept before: all of them, or as before."""

    @abstractmethod
    def clear(self) -> None:
        """Keep nothing."""


class MemoryTokenStorage(TokenStorage):
    """Keeps tokens as long as the process lives."""

    def __init__(self) -> None:
        """Start empty."""
        self._tokens: Tokens | None = None

    def load(self) -> Tokens | None:
        """Return what was saved last."""
        return self._tokens

    def save(self, tokens: Tokens) -> None:
        """Keep these."""
        self._tokens = tokens

    def clear(self) -> None:
        """Keep nothing."""
        self._tokens = None


class UnsafeTokenFile(Exception):
    """Others may read or write the file, so that its tokens may be anybody's."""


class FileTokenStorage(TokenStorage):
    """Keeps tokens in a file that only its owner can read.

    Processes that share the file share the login. They are best not to refresh at the same time;
    if they do, keyturn's grace window gives both the same tokens.
    """

    def __init__(self, path: Path) -> None:
        """Keep tokens in `path`, whose folder exists."""
        self._path = path

    def load(self) -> Tokens | None:
        """Return what was saved last; a file that holds no tokens counts as empty.

        Raises:
            UnsafeTokenFile: others may read or write the file.
            OSError: it can't be read.
        """
        try:
            with self._path.open("rb") as stream:
                mode = os.fstat(stream.fileno()).st_mode
                if os.name == "posix" and stat.S_IMODE(mode) & ~_OWNER_ALONE:
                    raise UnsafeTokenFile(f"{self._path}: others may use it; chmod 600 it")
                content = stream.read()
        except FileNotFoundError:
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
        unfinished = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        try:
            handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ALONE)
            with os.fdopen(handle, "w") as stream:
                stream.write(content)
                stream.flush()
                # A refresh token that is lost with the power is a login that is lost.
                os.fsync(stream.fileno())
            unfinished.replace(self._path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise

    def clear(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
