"""Passwords that an attacker tries first."""

import asyncio
import runpy
import string
from importlib.util import find_spec
from pathlib import Path

from keyturn.domain.policies import SHORTEST_PASSWORD
from keyturn.domain.secret import Secret
from keyturn.ports.passwords import PasswordBlocklist

_AROUND_A_WORD = string.digits + string.punctuation + " "

_ROADS = (
    "1234567890",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
)


class CommonPasswords(PasswordBlocklist):
    """Refuses what is common or follows from what is (NIST SP 800-63B-4 §3.1.1.2, ASVS V6.2.4).

    Whatever its case, a password is refused if it is

    - one of the 30,000 most used that zxcvbn ships, or two of the same side by side
      (`passwordpassword`);
    - anything repeated three times or more (`aaaaaaaaaaaaaaa`, `abc123abc123abc123`), the last
      time perhaps in part;
    - a run along the digits, the alphabet or the keyboard, forwards or backwards
      (`123456789012345`, `qwertyuiopasdfg`, `1q2w3e4r5t6y7u8`);
    - one of these with digits, punctuation or blanks before or after it (`!password123456`).

    Only entries of at least 8 characters are kept, since no shorter password is ever accepted.
    """

    def __init__(self) -> None:
        """Read nothing yet; the first question does."""
        self._listed: frozenset[str] | None = None

    async def contains(self, password: Secret) -> bool:
        """Return whether this normalised password is refused."""
        if self._listed is None:
            self._listed = await asyncio.to_thread(_read_list)
        text = password.reveal().casefold()
        return _is_common(text, self._listed) or _is_common(
            text.strip(_AROUND_A_WORD), self._listed
        )


def _read_list() -> frozenset[str]:
    # Importing zxcvbn would also build dictionaries of words and names, 14 MB of them.
    package = find_spec("zxcvbn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("zxcvbn is not installed")
    lists = runpy.run_path(str(Path(package.origin).with_name("frequency_lists.py")))
    return frozenset(
        entry.casefold()
        for entry in lists["FREQUENCY_LISTS"]["passwords"]
        if len(entry) >= SHORTEST_PASSWORD
    )


def _is_common(text: str, listed: frozenset[str]) -> bool:
    if len(text) < SHORTEST_PASSWORD:
        return False
    half = text[: len(text) // 2]
    return text in listed or (half in listed and text == half * 2) or _repeats(text) or _runs(text)


def _repeats(text: str) -> bool:
    """Whether the text is one unit three times or more, the last time perhaps in part."""
    return any(text[length:] == text[:-length] for length in range(1, len(text) // 3 + 1))


def _runs(text: str) -> bool:
    """Whether the text follows one of the roads, from anywhere and round again at its end."""
    for road in _ROADS:
        track = road * (len(text) // len(road) + 2)
        if text in track or text[::-1] in track:
            return True
    return False
