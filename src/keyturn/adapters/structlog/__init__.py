"""Log lines, whoever writes them, shaped by structlog: JSON for programs, text for people."""
