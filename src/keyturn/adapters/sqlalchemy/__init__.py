"""The persistence port on SQL: SQLite in a file, or PostgreSQL."""
