"""The OAuth clients of a file, read once.

```toml
[clients.notes]
secret_sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
introspect = true
revocations = true
audience = "https://notes.example"
resources = ["https://photos.example"]

[clients.mobile]  # no secret: a public client
```

The file holds digests of generated secrets, from which nobody learns a secret; what matters is who
may write it.
"""

import json
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path

from keyturn.adapters.clients_file.guarded_file import (
    read_guarded,
    tables_of,
    with_table,
    without_table,
    write_guarded,
)
from keyturn.domain.client import Client, secret_digest
from keyturn.domain.refresh_token_family import DEFAULT_CLIENT_ID
from keyturn.domain.secret import Secret
from keyturn.ports.clients import Clients

SECRET_BYTES = 32
"""Random bytes in a new client's secret; 16 are the least that a plain digest may keep."""

_FIELDS = {
    "secret_sha256": str,
    "introspect": bool,
    "revocations": bool,
    "audience": str,
    "resources": list,
}
_MUST_BE = {str: "a text", bool: "true or false", list: "a list of texts"}


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
    content = read_guarded(path, ClientsFileError)
    if required and not content and not path.exists():
        raise ClientsFileError(f"{path}: there is no such file; keyturn clients add makes it")
    return _parse(path, content)


def add_client(
    path: Path,
    client_id: str,
    *,
    public: bool,
    introspects: bool,
    reads_revocations: bool,
    audience: str | None = None,
    resources: Collection[str] = (),
) -> Secret | None:
    """Append a client to a file, and return its new secret; None for a public one.

    The file is made, mode 0600, if there is none. What else is in it stays as it is.

    Raises:
        ClientsFileError: the file is not good, there is such a client already, or there can't be.
    """
    content = read_guarded(path, ClientsFileError)
    known = _parse(path, content)
    if client_id in known:
        raise ClientsFileError(f"{path}: there is a client {client_id} already; remove it first")
    secret = None if public else Secret(secrets.token_urlsafe(SECRET_BYTES))
    digest = None if secret is None else secret_digest(secret)
    try:
        client = Client(
            client_id, digest, introspects, reads_revocations, audience, frozenset(resources)
        )
    except ValueError as error:
        raise ClientsFileError(str(error)) from None
    _replace(path, with_table(content, _table(client)), known | {client_id: client})
    return secret


def remove_client(path: Path, client_id: str) -> None:
    """Take a client out of a file, and leave what else is in it as it is.

    Raises:
        ClientsFileError: the file is not good, there is no such client, or it is not written as a
            table of its own.
    """
    content = read_guarded(path, ClientsFileError)
    known = _parse(path, content)
    if client_id not in known:
        raise ClientsFileError(f"{path}: there is no client {client_id}")
    left = {name: client for name, client in known.items() if name != client_id}
    _replace(path, without_table(content, "clients", client_id), left)


def _parse(path: Path, content: str) -> dict[str, Client]:
    if not content:
        return {}
    tables = tables_of(path, content, "clients", "notes", ClientsFileError)
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
        if not isinstance(value, kind) or not _holds_texts(value):
            raise ClientsFileError(
                f"{path}: {field} of the client {shown} must be {_MUST_BE[kind]}"
            )
    try:
        return Client(
            name,
            table.get("secret_sha256"),
            table.get("introspect", False),
            table.get("revocations", False),
            table.get("audience"),
            frozenset(table.get("resources", ())),
        )
    except ValueError as error:
        raise ClientsFileError(f"{path}: the client {shown}: {error}") from None


def _holds_texts(value: object) -> bool:
    return not isinstance(value, list) or all(isinstance(each, str) for each in value)


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
    if client.audience is not None:
        lines.append(f"audience = {_quoted(client.audience)}")
    if client.resources:
        lines.append(f"resources = [{', '.join(map(_quoted, sorted(client.resources)))}]")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # A JSON string of printable ASCII is a TOML string, too (TOML 1.0, basic strings).
    return json.dumps(text)


def _replace(path: Path, content: str, expected: Mapping[str, Client]) -> None:
    # Whatever an operator has written into it: nothing is lost that the change did not mean.
    if _parse(path, content) != expected:
        raise ClientsFileError(f"{path}: it is written in a way that only you can change")
    write_guarded(path, content, ClientsFileError)
