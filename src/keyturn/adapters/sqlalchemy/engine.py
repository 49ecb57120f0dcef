"""What a database URL names."""

from pathlib import Path
from typing import Final

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

_POSTGRESQL_SCHEMES: Final = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
_SQLITE_SCHEMES: Final = frozenset({"sqlite", "sqlite+aiosqlite"})


def sqlite_file(url: str) -> Path | None:
    """Return the file that a SQLite URL names, or None for a PostgreSQL URL.

    Args:
        url: `sqlite:///relative/file`, `sqlite:////absolute/file`, or a PostgreSQL connection URI
            as libpq takes it (`postgresql://user:password@host:5432/name?sslmode=require`).

    Raises:
        ValueError: it is neither. The message repeats no part of it: it may hold a password.
    """
    scheme = url.partition(":")[0].lower()
    if scheme in _POSTGRESQL_SCHEMES:
        return None
    if scheme not in _SQLITE_SCHEMES:
        raise ValueError("the database URL must begin with sqlite:/// or postgresql://")
    try:
        name = make_url(url).database
    except (ArgumentError, ValueError):
        name = None
    if not name or name == ":memory:" or name.startswith("file:"):
        raise ValueError("a SQLite database URL must name a file: sqlite:///path/to/file")
    return Path(name)
