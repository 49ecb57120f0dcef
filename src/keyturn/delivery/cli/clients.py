"""What an operator does with OAuth clients: who may introspect, and who follows revocations."""

import json
import sys
from typing import Annotated

import typer

from keyturn.delivery.cli.operations import Operations

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The client's id.")]


def add_clients(cli: typer.Typer, operations: Operations) -> None:
    """Add the commands to a command line."""
    clients = typer.Typer(help="Look at OAuth clients, add and remove them.", no_args_is_help=True)
    cli.add_typer(clients, name="clients")

    @clients.command("add")
    def add(
        name: _Name,
        *,
        introspect: Annotated[
            bool, typer.Option("--introspect", help="It may ask what a token is worth.")
        ] = False,
        revocations: Annotated[
            bool, typer.Option("--revocations", help="It may read the revocation feed.")
        ] = False,
        public: Annotated[
            bool, typer.Option("--public", help="It has no secret, as an app on a phone.")
        ] = False,
        audience: Annotated[
            str | None,
            typer.Option(help="Whose tokens it sees at introspection; unset, the default."),
        ] = None,
        resource: Annotated[
            list[str] | None,
            typer.Option(help="A resource that it may ask for; may be repeated."),
        ] = None,
    ) -> None:
        """Add a client; its secret, shown this once, is all that is written to standard output."""
        secret = operations.add_client(
            name,
            public=public,
            introspects=introspect,
            reads_revocations=revocations,
            audience=audience,
            resources=resource or (),
        )
        if secret is None:
            print(f"The public client {name} is added. Restart the service.", file=sys.stderr)
            return
        print(
            f"The client {name} is added. Restart the service. Its secret, which nobody can show "
            "you again:",
            file=sys.stderr,
            flush=True,
        )
        print(secret.reveal())

    @clients.command("list")
    def list_clients(
        *,
        as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a program.")] = False,
    ) -> None:
        """List the clients and what they may do."""
        rows: list[dict[str, str | bool | list[str] | None]] = [
            {
                "id": client.id,
                "public": client.is_public,
                "introspect": client.introspects,
                "revocations": client.reads_revocations,
                "audience": client.audience,
                "resources": sorted(client.resources),
            }
            for client in operations.list_clients()
        ]
        if as_json:
            print(json.dumps(rows, indent=2))
            return
        if not rows:
            print("No client.")
        for row in rows:
            may = [name for name in ("public", "introspect", "revocations") if row[name]]
            print(f"{row['id']}: {', '.join(may) or 'confidential'}")

    @clients.command()
    def remove(name: _Name) -> None:
        """Remove a client; what it was given can't be refreshed any more."""
        operations.remove_client(name)
        print(f"The client {name} is removed. Restart the service.")
