"""Mails to the terminal, for development."""
