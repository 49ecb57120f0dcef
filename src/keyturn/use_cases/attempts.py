"""How often a use-case reads again when others keep changing the same record."""

MAX_ATTEMPTS = 10
"""Each lost attempt means that somebody else's change succeeded: this many are a storm."""
