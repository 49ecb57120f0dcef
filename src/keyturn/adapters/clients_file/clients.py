"""The OAuth clients of a file, read once.

```toml
[clients.notes]
secret_sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
introspect = true
revocations = true

[clients.mobile]  # no secret: a public client
```

The file holds digests of generated secrets, from which nobody learns a secret; what matters is who
may write it. Files are written in full under another name and then renamed, so nobody ever reads
half of one.
"""

import os
import re
import secrets
import stat
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from keyturn.domain.client import Client, secret_digest
from keyturn.domain.refresh_token_family import DEFAULT_CLIENT_ID
from keyturn.domain.secret import Secret
from keyturn.ports.clients import Clients

SECRET_BYTES = 32
"""Random bytes in a new client's secret; 16 are the least that a plain digest may keep."""

_LARGEST_FILE = 1024 * 1024
_FIELDS = {"secret_sha256": str, "introspect": bool, "revocations": bool}
_TABLE = re.compile(r"^[ \t]*\[.*$", re.MULTILINE)


class ClientsFileError(Exception):
    """The file can't be used; the message is one line that names it."""


class FileClients(Clients):
    """The clients that a file held when it was read."""

    def __init__(self, path: Path, *, required: bool = False) -> None:
        """Read the file.

        Args:
            path: a missing file holds no client.
            required: whether a missing file is an error instead.

        Raises:
            ClientsFileError: it is malformed, open to others, or can't be read.
        """
        self._clients = load_clients(path, required=required)

    async def get(self, client_id: str) -> Client | None:
        return self._clients.get(client_id)


def load_clients(path: Path, *, required: bool = False) -> dict[str, Client]:
    """Return the clients in a file by their ids.

    Args:
        path: a missing file holds no client.
        required: whether a missing file is an error instead.

    Raises:
        ClientsFileError: it is malformed, open to others, or can't be read.
    """
    content = _read(path)
    if required and not content and not path.exists():
        raise ClientsFileError(f"{path}: there is no such file; keyturn clients add makes it")
    return _parse(path, content)


def add_client(
    path: Path, client_id: str, *, public: bool, introspects: bool, reads_revocations: bool
) -> Secret | None:
    """Append a client to a file, and return its new secret; None for a public one.

    The file is made, mode 0600, if there is none. What else is in it stays as it is.

    Raises:
        ClientsFileError: the file is not good, there is such a client already, or there can't be.
    """
    content = _read(path)
    known = _parse(path, content)
    if client_id in known:
        raise ClientsFileError(f"{path}: there is a client {client_id} already; remove it first")
    secret = None if public else Secret(secrets.token_urlsafe(SECRET_BYTES))
    digest = None if secret is None else secret_digest(secret)
    try:
        client = Client(client_id, digest, introspects, reads_revocations)
    except ValueError as error:
        raise ClientsFileError(str(error)) from None
    blank = "\n" if content else ""
    newline = "" if not content or content.endswith("\n") else "\n"
    changed = f"{content}{newline}{blank}{_table(client)}"
    _replace(path, changed, known | {client_id: client})
    return secret


def remove_client(path: Path, client_id: str) -> None:
    """Take a client out of a file, and leave what else is in it as it is.

    Raises:
        ClientsFileError: the file is not good, there is no such client, or it is not written as a
            table of its own.
    """
    content = _read(path)
    known = _parse(path, content)
    if client_id not in known:
        raise ClientsFileError(f"{path}: there is no client {client_id}")
    name = re.escape(client_id)
    header = re.compile(rf"[ \t]*\[[ \t]*clients[ \t]*\.[ \t]*([\"']?){name}\1[ \t]*\].*")
    starts = [0, *(found.start() for found in _TABLE.finditer(content)), len(content)]
    kept = [
        content[start:end]
        for start, end in pairwise(starts)
        if not header.fullmatch(content[start:end].partition("\n")[0])
    ]
    _replace(path, "".join(kept), {i: c for i, c in known.items() if i != client_id})


def _parse(path: Path, content: str) -> dict[str, Client]:
    if not content:
        return {}
    import tomllib  # noqa: PLC0415 - most services have no such file

    try:
        document = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # The text of the error says where, and quotes no value.
        raise ClientsFileError(f"{path}: it is no TOML: {_one_line(error)}") from None
    tables = document.pop("clients", {})
    if document or not isinstance(tables, dict):
        raise ClientsFileError(f"{path}: it must hold tables such as [clients.notes] alone")
    return {name: _client(path, name, table) for name, table in tables.items()}


def _client(path: Path, name: str, table: object) -> Client:
    if name == DEFAULT_CLIENT_ID:
        raise ClientsFileError(f"{path}: the client {name} is built in and stands in no file")
    shown = "".join(character if character.isprintable() else "?" for character in name)
    if not isinstance(table, Mapping):
        raise ClientsFileError(f"{path}: the client {shown} must be a table")
    for field, value in table.items():
        kind = _FIELDS.get(field)
        if kind is None:
            known = ", ".join(_FIELDS)
            raise ClientsFileError(f"{path}: the client {shown} has a field other than {known}")
        if not isinstance(value, kind):
            must = "true or false" if kind is bool else "a text"
            raise ClientsFileError(f"{path}: {field} of the client {shown} must be {must}")
    try:
        return Client(
            name,
            table.get("secret_sha256"),
            table.get("introspect", False),
            table.get("revocations", False),
        )
    except ValueError as error:
        raise ClientsFileError(f"{path}: the client {shown}: {error}") from None


def _table(client: Client) -> str:
    name = f'"{client.id}"' if "." in client.id else client.id
    lines = [f"[clients.{name}]"]
    if client.secret_sha256 is not None:
        lines.append(f'secret_sha256 = "{client.secret_sha256}"')
    lines += [
        f"{field} = true"
        for field, holds in (
            ("introspect", client.introspects),
            ("revocations", client.reads_revocations),
        )
        if holds
    ]
    return "\n".join(lines) + "\n"


def _read(path: Path) -> str:
    try:
        # Asked of the open file: between a look at the name and the read, it could be exchanged.
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ClientsFileError(f"{path}: others may write it; run chmod 600 on it")
            if info.st_uid not in {0, os.geteuid()}:
                raise ClientsFileError(f"{path}: it belongs to another user")
            content = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ClientsFileError(f"{path}: {error.strerror}") from None
    if len(content) > _LARGEST_FILE:
        raise ClientsFileError(f"{path}: it is too large")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ClientsFileError(f"{path}: it is not UTF-8") from None


def _replace(path: Path, content: str, expected: Mapping[str, Client]) -> None:
    # Whatever an operator has written into it: nothing is lost that the change did not mean.
    if _parse(path, content) != expected:
        raise ClientsFileError(f"{path}: it is written in a way that only you can change")
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
    except OSError as error:
        raise ClientsFileError(f"{path}: {error.strerror}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or "it is nested too deeply"
