"""A small service of its own that lets keyturn say who is calling."""
