"""Asking a service about a password without telling it."""
