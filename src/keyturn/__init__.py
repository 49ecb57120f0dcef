"""keyturn: a self-hosted authentication backend that notices stolen refresh tokens."""
