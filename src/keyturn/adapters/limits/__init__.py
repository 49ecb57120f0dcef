"""Counting attempts with the library limits."""
