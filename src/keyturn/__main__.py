"""`python -m keyturn`."""

from keyturn.main import run_command_line

run_command_line()
