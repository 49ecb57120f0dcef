"""How lists, ids and times are read and shown at the command line."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from keyturn.delivery.cli.operations import Refusal

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for a program.")]
"""The option by which a list is printed for a program."""


def parse_id(text: str, kind: str) -> UUID:
    """Return an id of an argument.

    Raises:
        Refusal: it is none.
    """
    try:
        return UUID(text)
    except ValueError:
        address = " nor an e-mail address" if kind == "user" else ""
        raise Refusal(f"{printable(text)} is no {kind}'s id{address}") from None


def told(moment: datetime | None) -> str | None:
    """Return a time as ISO 8601, to the second."""
    return None if moment is None else moment.isoformat(timespec="seconds")


def print_rows(rows: list[dict[str, object]], *, as_json: bool, nothing: str) -> None:
    """Print rows as a table or as JSON; `nothing` stands for an empty table."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print(nothing)
        return
    lines = [[name.upper() for name in rows[0]], *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = (f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def _cells(row: Mapping[str, object]) -> list[str]:
    return [
        " ".join(value) if isinstance(value, list) else printable(str(value or "-"))
        for value in row.values()
    ]


def printable(text: str) -> str:
    """Return a text without what a terminal would obey."""
    # What a client called its device must not steer an operator's terminal.
    return "".join(character if character.isprintable() else "?" for character in text)
