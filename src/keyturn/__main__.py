"""`keyturn` and `python -m keyturn`."""

import os

from keyturn.loading import loading


def run_command_line() -> None:
    """Do what the arguments of the process say, and exit."""
    # A plugin of Pydantic's sees whatever is validated, passwords among it. To look for one is
    # also to read the metadata of every package that is installed, at each start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with loading():
        # Only now; and here, so that a worker loads no command line.
        from keyturn.delivery.cli.commands import run  # noqa: PLC0415
        from keyturn.main import CommandLineOperations  # noqa: PLC0415
    run(CommandLineOperations())


if __name__ == "__main__":
    run_command_line()
