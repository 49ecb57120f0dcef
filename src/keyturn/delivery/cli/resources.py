"""What an operator does with resources: which services get access tokens of their own."""

import json
from typing import Annotated

import typer

from keyturn.delivery.cli.operations import Operations

_Uri = Annotated[
    str, typer.Argument(metavar="URI", help="An absolute URI, such as https://notes.example.")
]


def add_resources(cli: typer.Typer, operations: Operations) -> None:
    """Add the commands to a command line."""
    resources = typer.Typer(
        help="Declare the services that get access tokens of their own.", no_args_is_help=True
    )
    cli.add_typer(resources, name="resources")

    @resources.command("add")
    def add(uri: _Uri) -> None:
        """Declare a resource: clients may then ask for tokens that are for it alone."""
        operations.add_resource(uri)
        print(f"The resource {uri} is declared. Restart the service.")

    @resources.command("list")
    def list_resources(
        *,
        as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a program.")] = False,
    ) -> None:
        """List the declared resources; the issuer always exists and is not listed."""
        uris = list(operations.list_resources())
        if as_json:
            print(json.dumps(uris, indent=2))
            return
        print("\n".join(uris) or "No resource.")

    @resources.command()
    def remove(uri: _Uri) -> None:
        """Withdraw a resource; its tokens end by themselves within KEYTURN_ACCESS_TTL."""
        operations.remove_resource(uri)
        print(f"The resource {uri} is withdrawn. Restart the service.")
