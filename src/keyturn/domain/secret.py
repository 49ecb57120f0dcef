"""A text that must not be printed."""

import hmac
from typing import Never


class Secret:
    """Holds a password or a token; printing, formatting or pickling it never shows the text.

    Two secrets are compared in constant time. The text leaves only through `reveal()`, so every
    place where it does can be found by that name.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Wrap `text`."""
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        # Lone surrogates are legal in a str and must not make a comparison fail.
        return hmac.compare_digest(
            self._text.encode("utf-8", "surrogatepass"),
            other._text.encode("utf-8", "surrogatepass"),
        )

    def __hash__(self) -> int:
        return hash(self._text)

    def __len__(self) -> int:
        return len(self._text)

    def __reduce__(self) -> Never:
        raise TypeError("a Secret can't be pickled")
