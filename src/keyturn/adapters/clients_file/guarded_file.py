"""A small TOML file that decides who may do what: who may write it matters.

It is written in full under another name and then renamed, so nobody ever reads half of one.
"""

import os
import re
import secrets
import stat
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

_LARGEST_FILE = 1024 * 1024
_TABLE = re.compile(r"^[ \t]*\[.*$", re.MULTILINE)


def read_guarded(path: Path, error: type[Exception]) -> str:
    """Return the text of a file, empty for a missing one.

    Args:
        error: what is raised, with one line that names the file.

    Raises:
        Exception: `error`: others may write the file, it belongs to another user, it is too
            large or not UTF-8, or it can't be read.
    """
    try:
        # Asked of the open file: between a look at the name and the read, it could be exchanged.
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise error(f"{path}: others may write it; run chmod 600 on it")
            if info.st_uid not in {0, os.geteuid()}:
                raise error(f"{path}: it belongs to another user")
            content = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        return ""
    except OSError as failure:
        raise error(f"{path}: {failure.strerror}") from None
    if len(content) > _LARGEST_FILE:
        raise error(f"{path}: it is too large")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise error(f"{path}: it is not UTF-8") from None


def tables_of(
    path: Path, content: str, kind: str, example: str, error: type[Exception]
) -> Mapping[str, object]:
    """Return the tables of one kind, which is all that the file may hold.

    Raises:
        Exception: `error`: the text is no TOML, or holds something else.
    """
    import tomllib  # noqa: PLC0415 - most services have no such file

    try:
        document = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as failure:
        # The text of the error says where, and quotes no value.
        raise error(f"{path}: it is no TOML: {_one_line(failure)}") from None
    tables = document.pop(kind, {})
    if document or not isinstance(tables, dict):
        raise error(f"{path}: it must hold tables such as [{kind}.{example}] alone")
    return tables


def with_table(content: str, table: str) -> str:
    """Return a file's text with one more table, and what else is in it as it is."""
    blank = "\n" if content else ""
    newline = "" if not content or content.endswith("\n") else "\n"
    return f"{content}{newline}{blank}{table}"


def without_table(content: str, kind: str, name: str) -> str:
    """Return a file's text without one table, and what else is in it as it is."""
    escaped = re.escape(name)
    header = re.compile(rf"[ \t]*\[[ \t]*{kind}[ \t]*\.[ \t]*([\"']?){escaped}\1[ \t]*\].*")
    starts = [0, *(found.start() for found in _TABLE.finditer(content)), len(content)]
    kept = [
        content[start:end]
        for start, end in pairwise(starts)
        if not header.fullmatch(content[start:end].partition("\n")[0])
    ]
    return "".join(kept)


def write_guarded(path: Path, content: str, error: type[Exception]) -> None:
    """Replace a file; it is made, mode 0600, if there is none.

    Raises:
        Exception: `error`: the file can't be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as failure:
        raise error(f"{path}: {failure.strerror}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or "it is nested too deeply"
