"""What keyturn does, one use-case a file."""
