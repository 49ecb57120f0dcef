"""The rules of keyturn, in plain Python: no I/O, no clock, no third-party package."""
