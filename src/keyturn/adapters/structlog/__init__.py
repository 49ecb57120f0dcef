"""Log lines through structlog, whoever writes them."""
