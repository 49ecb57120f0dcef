"""Password hashes that other systems made: bcrypt and PBKDF2, as Django and passlib write them.

A hash is an input like any other. Each is read by a pattern that bounds all its parts, and one that
would cost far more than a good one of today counts as unreadable.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

from keyturn.ports.passwords import ForeignHashes

MOST_PBKDF2_ITERATIONS: Final = 2_000_000
"""More than three times what OWASP's Password Storage Cheat Sheet asks for with SHA-256."""

_BCRYPT_KEY_BYTES: Final = 72
"""What follows these, no bcrypt looks at."""

# The cost is a power of two: 14 takes about a second. Of the 22nd character of the salt two bits
# count: others come of damage.
_BCRYPT = re.compile(
    r"(bcrypt\$|bcrypt_sha256\$)?(\$2[aby]\$(?:0[4-9]|1[0-4])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31})"
)
_PASSLIB_BCRYPT_SHA256 = re.compile(
    r"\$bcrypt-sha256\$(?:(2[ab]),([4-9]|1[0-4])|v=2,t=(2b),r=([4-9]|1[0-4]))"
    r"\$([./A-Za-z0-9]{21}[.Oeu])\$([./A-Za-z0-9]{31})"
)
_DJANGO_PBKDF2 = re.compile(
    r"pbkdf2_(sha1|sha256)\$([1-9][0-9]{0,6})\$([!-#%-~]{1,256})\$([+/A-Za-z0-9]{1,86}={0,2})"
)
_PASSLIB_PBKDF2 = re.compile(
    r"\$pbkdf2(|-sha256|-sha512)\$([1-9][0-9]{0,6})\$([./A-Za-z0-9]{0,256})\$([./A-Za-z0-9]{1,86})"
)

_Check = Callable[[bytes], bool]


class ImportedHashes(ForeignHashes):
    """Verifies what Django and passlib wrote, with the same result as they would.

    | written by | |
    |---|---|
    | bcrypt anywhere | `$2a$`, `$2b$`, `$2y$` |
    | Django | `bcrypt$`, `bcrypt_sha256$`, `pbkdf2_sha256$`, `pbkdf2_sha1$` |
    | passlib | `$bcrypt-sha256$`, `$pbkdf2$`, `$pbkdf2-sha256$`, `$pbkdf2-sha512$` |

    Plain bcrypt looks at no more than 72 bytes of a password, so neither does this, until the hash
    is replaced at the next login. Without the library bcrypt (`keyturn[import]`), hashes of bcrypt
    are unreadable.
    """

    def __init__(self) -> None:
        """Look which libraries there are."""
        self._has_bcrypt = find_spec("bcrypt") is not None

    def recognises(self, password_hash: str) -> bool:
        return self._read(password_hash) is not None

    def verify(self, password_hash: str, password: bytes) -> bool:
        check = self._read(password_hash)
        return check is not None and check(password)

    def _read(self, password_hash: str) -> _Check | None:
        if self._has_bcrypt:
            if found := _BCRYPT.fullmatch(password_hash):
                return _bcrypt(*found.groups())
            if found := _PASSLIB_BCRYPT_SHA256.fullmatch(password_hash):
                return _passlib_bcrypt_sha256(*found.groups())
        if found := _DJANGO_PBKDF2.fullmatch(password_hash):
            digest, iterations, salt, expected = found.groups()
            return _pbkdf2(digest, int(iterations), salt.encode(), _decoded(expected))
        if found := _PASSLIB_PBKDF2.fullmatch(password_hash):
            variant, iterations, salt, expected = found.groups()
            return _pbkdf2(
                variant.removeprefix("-") or "sha1",
                int(iterations),
                _decoded_adapted(salt),
                _decoded_adapted(expected),
            )
        return None


def _bcrypt(prefix: str | None, password_hash: str) -> _Check:
    if prefix == "bcrypt_sha256$":
        return lambda password: _is_bcrypt_of(_hex_sha256(password), password_hash)
    return lambda password: _is_bcrypt_of(password, password_hash)


def _passlib_bcrypt_sha256(
    ident: str | None,
    cost: str | None,
    ident_of_2: str | None,
    cost_of_2: str | None,
    salt: str,
    digest: str,
) -> _Check:
    password_hash = f"${ident or ident_of_2}${int(cost or cost_of_2 or 0):02}${salt}{digest}"
    if ident is not None:
        return lambda password: _is_bcrypt_of(
            base64.b64encode(hashlib.sha256(password).digest()), password_hash
        )
    return lambda password: _is_bcrypt_of(
        base64.b64encode(hmac.digest(salt.encode(), password, "sha256")), password_hash
    )


def _is_bcrypt_of(key: bytes, password_hash: str) -> bool:
    import bcrypt  # noqa: PLC0415 - it is optional

    try:
        return bcrypt.checkpw(key[:_BCRYPT_KEY_BYTES], password_hash.encode())
    except ValueError:
        # Damaged in a way that only the library sees.
        return False


def _hex_sha256(password: bytes) -> bytes:
    return hashlib.sha256(password).hexdigest().encode()


def _pbkdf2(
    digest: str, iterations: int, salt: bytes | None, expected: bytes | None
) -> _Check | None:
    # Of the full length: next to anything would match a digest of a byte or two.
    if (
        iterations > MOST_PBKDF2_ITERATIONS
        or salt is None
        or expected is None
        or len(expected) != hashlib.new(digest, usedforsecurity=False).digest_size
    ):
        return None
    return lambda password: hmac.compare_digest(
        hashlib.pbkdf2_hmac(digest, password, salt, iterations), expected
    )


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _decoded_adapted(text: str) -> bytes | None:
    """Decode passlib's own base64: a dot for the plus, and no padding."""
    return _decoded(text.replace(".", "+") + "=" * (-len(text) % 4))
