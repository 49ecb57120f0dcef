"""keyturn: a self-hosted authentication backend with rotating refresh tokens and theft detection."""
