"""keyturn over HTTP."""
