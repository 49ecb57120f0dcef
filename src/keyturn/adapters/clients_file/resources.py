"""The declared resources of a file, read once.

```toml
[resources."https://notes.example"]

[resources."https://photos.example"]
```

Whoever may write the file decides which services get tokens of their own, so it is guarded as the
file of the OAuth clients is.
"""

from collections.abc import Mapping
from pathlib import Path

from keyturn.adapters.clients_file.guarded_file import (
    read_guarded,
    tables_of,
    with_table,
    without_table,
    write_guarded,
)
from keyturn.domain.resource import require_resource, same_resource


class ResourcesFileError(Exception):
    """The file can't be used; the message is one line that names it."""


def load_resources(path: Path, *, required: bool = False) -> frozenset[str]:
    """Return the resources in a file.

    Args:
        path: a missing file holds no resource.
        required: whether a missing file is an error instead.

    Raises:
        ResourcesFileError: it is malformed, open to others, or can't be read.
    """
    content = read_guarded(path, ResourcesFileError)
    if required and not content and not path.exists():
        raise ResourcesFileError(f"{path}: there is no such file; keyturn resources add makes it")
    return _parse(path, content)


def add_resource(path: Path, resource: str) -> None:
    """Append a resource to a file.

    The file is made, mode 0600, if there is none. What else is in it stays as it is.

    Raises:
        ResourcesFileError: the file is not good, the resource or one that looks like it is
            declared already, or this is no resource.
    """
    content = read_guarded(path, ResourcesFileError)
    known = _parse(path, content)
    try:
        require_resource(resource)
    except ValueError as error:
        raise ResourcesFileError(str(error)) from None
    for other in known:
        if same_resource(resource, other):
            raise ResourcesFileError(f"{path}: {other} is declared already")
    changed = with_table(content, f'[resources."{resource}"]\n')
    _replace(path, changed, known | {resource})


def remove_resource(path: Path, resource: str) -> None:
    """Take a resource out of a file, and leave what else is in it as it is.

    Raises:
        ResourcesFileError: the file is not good, there is no such resource, or it is not written
            as a table of its own.
    """
    content = read_guarded(path, ResourcesFileError)
    known = _parse(path, content)
    if resource not in known:
        raise ResourcesFileError(f"{path}: there is no resource {resource}")
    _replace(path, without_table(content, "resources", resource), known - {resource})


def _parse(path: Path, content: str) -> frozenset[str]:
    if not content:
        return frozenset()
    example = '"https://notes.example"'
    tables = tables_of(path, content, "resources", example, ResourcesFileError)
    for name, table in tables.items():
        shown = "".join(character if character.isprintable() else "?" for character in name)
        if not isinstance(table, Mapping) or table:
            raise ResourcesFileError(f"{path}: the resource {shown} must be an empty table")
        try:
            require_resource(name)
        except ValueError as error:
            raise ResourcesFileError(f"{path}: {shown}: {error}") from None
    return frozenset(tables)


def _replace(path: Path, content: str, expected: frozenset[str]) -> None:
    # Whatever an operator has written into it: nothing is lost that the change did not mean.
    if _parse(path, content) != expected:
        raise ResourcesFileError(f"{path}: it is written in a way that only you can change")
    write_guarded(path, content, ResourcesFileError)
