"""Log lines, whoever writes them: JSON for programs, structlog for people."""
