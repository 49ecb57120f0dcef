"""Reads the file `.env` once, if nobody but its owner and root could have written it."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

_LARGEST_FILE = 1024 * 1024
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class EnvFileError(Exception):
    """The file can't be used; the message is one line that names it and holds no value."""


@dataclass(frozen=True, slots=True)
class EnvFile:
    """The content of the file.

    Attributes:
        values: the value of each variable, by its name as it is written in the file.
        names_without_value: variables of lines that have no `=`.
    """

    values: Mapping[str, str]
    names_without_value: frozenset[str]


def read_env_file(path: Path) -> EnvFile:
    """Return the variables of a file; there are none where no such file exists.

    A file that exists is never skipped. Its owner and mode are those of the open file that is
    read, so an exchange of the name in between changes nothing.

    Args:
        path: the file, or a link to it.

    Raises:
        EnvFileError: another user than the process's and root owns the file, the link or the
            folder; others may write the file, or may replace it in its folder; it is no regular
            file, can't be read, or has a line that is not `NAME=value`.
    """
    try:
        content = _content_of(path)
    except OSError as error:
        raise EnvFileError(f"{path}: can't be read: {error.strerror}") from None
    if content is None:
        return EnvFile({}, frozenset())
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise EnvFileError(f"{path}: can't be read: it is not UTF-8") from None
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise EnvFileError(f"{path}: line {binding.original.line} is not NAME=value")
    values = dotenv_values(stream=StringIO(text))
    return EnvFile(
        {name: value for name, value in values.items() if value is not None},
        frozenset(name for name, value in values.items() if value is None),
    )


def _content_of(path: Path) -> bytes | None:
    try:
        entry = path.lstat()
    except FileNotFoundError:
        return None
    # The link first: where its owner is trusted and the folder guards it, it stays as it is.
    _require_trusted_owner(path, "", entry)
    _require_guarded_folder(path)
    try:
        # Without waiting: a named pipe would keep the start waiting for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise EnvFileError(f"{path}: is a link that leads nowhere; remove or repair it") from None
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise EnvFileError(f"{path}: is no regular file")
        _require_trusted_owner(path, "", info)
        if info.st_mode & _OTHERS_WRITE:
            raise EnvFileError(f"{path}: others may write it; run chmod go-w {path}")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(_LARGEST_FILE + 1)
    finally:
        os.close(descriptor)
    if len(content) > _LARGEST_FILE:
        raise EnvFileError(f"{path}: is larger than {_LARGEST_FILE} bytes")
    return content


def _require_guarded_folder(path: Path) -> None:
    folder = path.parent.stat()
    _require_trusted_owner(path, "its folder ", folder)
    # With the sticky bit, only the owners of a file and of the folder replace the file.
    if folder.st_mode & _OTHERS_WRITE and not folder.st_mode & stat.S_ISVTX:
        raise EnvFileError(
            f"{path}: others may replace it, because they may write its folder "
            f"({stat.S_IMODE(folder.st_mode):04o}); run chmod go-w on the folder"
        )


def _require_trusted_owner(path: Path, owned: str, info: os.stat_result) -> None:
    if info.st_uid not in {0, os.geteuid()}:
        raise EnvFileError(
            f"{path}: {owned}belongs to another user (uid {info.st_uid}) than that of this process "
            f"(uid {os.geteuid()}) or root; run chown, or remove it"
        )
