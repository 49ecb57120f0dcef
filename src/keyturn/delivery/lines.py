"""Short texts that people read."""

import unicodedata

_JOINERS = "\u200c\u200d"
"""Invisible, but part of Persian and Indic words and of emoji."""


def is_line(text: str) -> bool:
    """Return whether a text is one line of printable characters."""
    return all(
        character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"
        for character in text
    )
