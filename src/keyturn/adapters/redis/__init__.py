"""The revocation feed on Redis, for many processes that shall not ask the database."""
