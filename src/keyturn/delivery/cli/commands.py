"""The commands, their options and what they print."""

import sys
from typing import Annotated

import typer

from keyturn.delivery.cli.administration import add_administration
from keyturn.delivery.cli.clients import add_clients
from keyturn.delivery.cli.keys import add_keys
from keyturn.delivery.cli.operations import Operations, Refusal, Verdict
from keyturn.delivery.cli.outbox import add_outbox
from keyturn.delivery.cli.resources import add_resources

EXIT_PROBLEM = 1
"""`keyturn doctor` found a problem."""

EXIT_REFUSED = 2
"""The command could not be carried out as things are."""


def run(operations: Operations) -> None:
    """Carry out the command that the process was started with, and exit."""
    try:
        build_command_line(operations)()
    except Refusal as refusal:
        print(f"keyturn: {refusal}", file=sys.stderr)
        sys.exit(EXIT_REFUSED)


def build_command_line(operations: Operations) -> typer.Typer:
    """Return the command line over `operations`."""
    cli = typer.Typer(
        name="keyturn",
        help="Self-hosted authentication that notices stolen refresh tokens.",
        no_args_is_help=True,
        add_completion=False,
        # A trace would show what stands in variables.
        pretty_exceptions_enable=False,
    )

    @cli.command()
    def serve(
        host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
        port: Annotated[
            int, typer.Option(help="The port; 0 for any that is free.", min=0, max=65535)
        ] = 8000,
        workers: Annotated[int, typer.Option(help="How many processes serve.", min=1, max=256)] = 1,
        *,
        migrate: Annotated[
            bool,
            typer.Option(
                "--migrate",
                help="Bring the database to the newest schema first; the embedded one always is.",
            ),
        ] = False,
    ) -> None:
        """Run the service."""
        operations.serve(host=host, port=port, workers=workers, migrate=migrate)

    @cli.command()
    def migrate(
        to: Annotated[str, typer.Option(help="A revision, instead of the newest.")] = "head",
    ) -> None:
        """Bring the database to the newest schema."""
        print(f"The database is at {operations.migrate(to)}.")

    add_administration(cli, operations)
    add_outbox(cli, operations)
    add_clients(cli, operations)
    add_resources(cli, operations)

    add_keys(cli, operations)

    @cli.command()
    def config() -> None:
        """Show every setting, its value and its source; secrets are masked."""
        for setting in operations.settings():
            print(f"# {setting.source}: {setting.description}")
            # A derived value stays a comment, so that a copy of this text derives it anew.
            is_set = setting.value and setting.source != "derived"
            print(f"{'' if is_set else '# '}{setting.name}={setting.value}")

    @cli.command()
    def doctor() -> None:
        """Look for what is wrong, changing nothing."""
        found_a_problem = False
        for finding in operations.diagnose():
            print(f"{finding.verdict:8} {finding.subject:10} {finding.text}")
            found_a_problem = found_a_problem or finding.verdict is Verdict.BAD
        if found_a_problem:
            raise typer.Exit(EXIT_PROBLEM)

    @cli.command()
    def openapi() -> None:
        """Print the description of the HTTP interface, as JSON."""
        print(operations.openapi())

    @cli.command()
    def version() -> None:
        """Print the version."""
        print(f"keyturn {operations.version()}")

    return cli
