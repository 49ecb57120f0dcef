"""How hard a password is to guess, told to the person who thinks of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strength:
    """An estimate.

    Attributes:
        score: 0 (guessed at once) to 4 (very hard to guess).
        warning: what makes it weak, None where nothing does.
        suggestions: what would make it better.
    """

    score: int
    warning: str | None
    suggestions: tuple[str, ...]
