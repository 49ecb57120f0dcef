"""Signing keys as files in a folder, with one small manifest that says which one signs.

```
keys/                   0700
├── <kid>.jwk           0600  a private JWK, as `ensure_key` writes it
├── from-elsewhere.pem  0600  PKCS 8 without a passphrase, as an operator may bring it
└── keys.json           0600  {"version": 1, "signing": "<kid>"}
```

Every key in the folder verifies. The manifest may be missing while there is only one key. Files
are written in full under another name and then renamed, so nobody ever reads half of one.
"""

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyturn.adapters.pyjwt.key_ring import (
    MIN_SECRET_BYTES,
    SMALLEST_RSA_EXPONENT,
    Key,
    KeyRing,
    SigningAlgorithm,
)

MANIFEST_NAME = "keys.json"

NEW_RSA_BITS = 3072
"""What 128 bits of security ask for (OWASP ASVS 5.0 V11.2.3)."""

_MANIFEST_VERSION = 1
_LARGEST_FILE = 65536
_KEY_SUFFIXES = frozenset({".jwk", ".pem"})


class KeyFileError(Exception):
    """The key files can't be used; the message is one line that names the file."""


def generate_key(algorithm: SigningAlgorithm) -> Key:
    """Return a new key of at least 128 bits of security, stored nowhere yet."""
    match algorithm:
        case SigningAlgorithm.HS256:
            return Key(secrets.token_bytes(MIN_SECRET_BYTES))
        case SigningAlgorithm.RS256:
            return Key(rsa.generate_private_key(SMALLEST_RSA_EXPONENT, NEW_RSA_BITS))
        case SigningAlgorithm.ES256:
            return Key(ec.generate_private_key(ec.SECP256R1()))
        case SigningAlgorithm.EDDSA:
            return Key(Ed25519PrivateKey.generate())


def load_key_ring(folder: Path) -> KeyRing:
    """Return the keys in `folder`, with the one that the manifest names as the signing key.

    Raises:
        KeyFileError: there is no key, a file is malformed, weak or open to others, or it is not
            clear which key signs.
    """
    try:
        keys = [_read_key(path) for path in _key_paths(folder)]
        manifest = folder / MANIFEST_NAME
        signing_kid = _read_signing_kid(manifest) if manifest.exists() else None
    except OSError as error:
        raise KeyFileError(f"{error.filename}: {error.strerror}") from None
    if not keys:
        raise KeyFileError(f"{folder}: there is no key file (*.jwk, *.pem)")
    if signing_kid is None:
        if len(keys) > 1:
            raise KeyFileError(f"{manifest}: missing, and several keys could be the signing one")
        signing_kid = keys[0].kid
    try:
        return KeyRing(keys, signing_kid)
    except ValueError as error:
        raise KeyFileError(f"{folder}: {error}") from None


def ensure_key(folder: Path, algorithm: SigningAlgorithm) -> KeyRing:
    """Return the keys in `folder`; on the first start, make the folder and a key for `algorithm`.

    However many processes start at once, one of them makes the key and all return it.

    Raises:
        KeyFileError: as `load_key_ring`, or the signing key is for another algorithm.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _holds_anything(folder):
            with _locked(folder):
                if not _holds_anything(folder):
                    _store_first_key(folder, generate_key(algorithm))
    except OSError as error:
        raise KeyFileError(f"{error.filename or folder}: {error.strerror}") from None
    key_ring = load_key_ring(folder)
    signing = key_ring.signing_key
    if signing.algorithm is not algorithm:
        raise KeyFileError(
            f"{folder}: its signing key {signing.kid} is for {signing.algorithm}, not {algorithm}"
        )
    return key_ring


def _key_paths(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in _KEY_SUFFIXES and not path.name.startswith(".")
    )


def _holds_anything(folder: Path) -> bool:
    return (folder / MANIFEST_NAME).exists() or bool(_key_paths(folder))


def _store_first_key(folder: Path, key: Key) -> None:
    # The key goes first: a manifest never names a key that isn't there.
    _write(folder / f"{key.kid}.jwk", key.to_jwk() | {"kid": key.kid})
    _write(folder / MANIFEST_NAME, {"version": _MANIFEST_VERSION, "signing": key.kid})


def _read_key(path: Path) -> Key:
    content = _read_guarded(path, forbidden=stat.S_IRWXG | stat.S_IRWXO)
    try:
        if path.suffix == ".pem":
            return Key.from_pem(content)
        return Key.from_jwk(_json_object(content))
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from None


def _read_signing_kid(path: Path) -> str:
    content = _read_guarded(path, forbidden=stat.S_IWGRP | stat.S_IWOTH)
    try:
        manifest = _json_object(content)
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from None
    if manifest.get("version") != _MANIFEST_VERSION:
        raise KeyFileError(f"{path}: its version is not {_MANIFEST_VERSION}")
    kid = manifest.get("signing")
    if not isinstance(kid, str):
        raise KeyFileError(f"{path}: it does not say which key signs")
    return kid


def _json_object(content: bytes) -> dict[str, object]:
    try:
        value: object = json.loads(content)
    except (ValueError, RecursionError):
        # The cause would quote the file.
        value = None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - the text is wrong, not a type
    return value


def _read_guarded(path: Path, *, forbidden: int) -> bytes:
    """Return the content of a file of ours whose mode has none of the `forbidden` bits."""
    # Asked of the open file: between a look at the name and the read, it could be exchanged.
    with path.open("rb") as file:
        info = os.fstat(file.fileno())
        if info.st_mode & forbidden:
            raise KeyFileError(f"{path}: others than its owner have access; run chmod 600 on it")
        if info.st_uid not in {0, os.geteuid()}:
            raise KeyFileError(f"{path}: it belongs to another user")
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise KeyFileError(f"{path}: it is too large for a key")
    return content


def _write(path: Path, content: Mapping[str, object]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # The kernel gives the lock back when its holder dies: no lock file can be left behind.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        # What was renamed into the folder outlives a power cut only once the folder is written.
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
