"""Argon2id through argon2-cffi."""
