"""How an operator lets one signing key take over from another."""

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from keyturn.delivery.cli.operations import KeyLine, Operations

_NOW = typer.Option("--now", help="In an emergency: wait for nothing.")


class _Algorithm(StrEnum):
    HS256 = "HS256"
    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


def add_keys(cli: typer.Typer, operations: Operations) -> None:
    """Add the commands to a command line."""
    keys = typer.Typer(help="Let one signing key take over from another.", no_args_is_help=True)
    cli.add_typer(keys, name="keys")

    @keys.command("list")
    def list_keys(
        *, as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a program.")] = False
    ) -> None:
        """List the keys and what each is for."""
        lines = operations.administer_keys(lambda keys: keys.list())
        if as_json:
            print(json.dumps([_members(line) for line in lines], indent=2))
            return
        for line in lines:
            print(f"{line.kid}  {line.algorithm:5}  {_told(line):42}  {line.file}")

    @keys.command()
    def generate(
        algorithm: Annotated[
            _Algorithm | None,
            typer.Option(help="What it signs with; that of the signing key by default."),
        ] = None,
    ) -> None:
        """Make the next key and publish it; it does not sign yet."""
        wanted = None if algorithm is None else algorithm.value
        _print_next(operations.administer_keys(lambda keys: keys.generate(wanted)))

    @keys.command()
    def rotate(*, now: Annotated[bool, _NOW] = False) -> None:
        """Let the next key sign; where there is none, make and publish it first."""
        line = operations.administer_keys(lambda keys: keys.rotate(at_once=now))
        if line.state == "next":
            _print_next(line)
            return
        print(f"{line.kid} signs now ({line.algorithm}). Running services notice within seconds.")
        print("The key before it verifies until its last token has expired: keyturn keys list")
        print(f"If KEYTURN_ALGORITHM is set, let it say {line.algorithm}.")

    @keys.command()
    def retire(
        kid: Annotated[str, typer.Argument(help="The key's id, as keyturn keys list shows it.")],
        *,
        now: Annotated[bool, _NOW] = False,
    ) -> None:
        """Let a key go once its last token has expired; with --now its tokens die at once."""
        until = operations.administer_keys(lambda keys: keys.retire(kid, at_once=now))
        if until is None:
            print(f"{kid} is gone, and no token that it signed is good any more.")
        else:
            print(f"{kid} retires at {_at(until)}, when its last token has expired.")


def _print_next(line: KeyLine) -> None:
    print(f"{line.kid} is published ({line.algorithm}) and signs next.")
    if line.at is not None:
        print(f"From {_at(line.at)} on, everybody knows it: run keyturn keys rotate then.")


def _told(line: KeyLine) -> str:
    if line.at is None:
        return line.state
    return f"{line.state}, {'from' if line.state == 'next' else 'until'} {_at(line.at)}"


def _members(line: KeyLine) -> dict[str, str | None]:
    return {
        "kid": line.kid,
        "algorithm": line.algorithm,
        "state": str(line.state),
        "at": None if line.at is None else line.at.isoformat(timespec="seconds"),
        "file": line.file,
    }


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
