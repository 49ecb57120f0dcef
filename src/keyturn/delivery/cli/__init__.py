"""The command line: it translates, and leaves the doing to what it is handed."""
