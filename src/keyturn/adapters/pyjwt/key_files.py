"""Signing keys as files in a folder, with one small manifest that says what each is for.

```
keys/                   0700
├── <kid>.jwk           0600  a private JWK, as `ensure_key` writes it
├── from-elsewhere.pem  0600  PKCS 8 without a passphrase, as an operator may bring it
└── keys.json           0600  {"version": 1, "signing": "<kid>"}
```

Besides the key that signs, the manifest may name the one that signs next, and those that retire:

```
"next": {"kid": "<kid>", "published_at": "2030-01-01T00:00:00Z"},
"retiring": {"<kid>": "2030-02-01T00:00:00Z"},
"formerly": ["RS256"]
```

Every key in the folder verifies, but for one whose time to retire has come. `formerly` are the
algorithms that signed before: a setting that still names one contradicts nothing. The manifest may
be missing while there is only one key. Files are written in full under another name and then
renamed, so nobody ever reads half of one.
"""

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
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


@dataclass(frozen=True, slots=True)
class NextKey:
    """The key that signs next.

    Attributes:
        published_at: since when those who verify can find it, aware UTC.
    """

    kid: str
    published_at: datetime


@dataclass(frozen=True, slots=True)
class Manifest:
    """What each key is for; one that is not named verifies without an end.

    Attributes:
        signing: the `kid` of the key that signs.
        retiring: until when the keys that signed before verify, by `kid`, aware UTC.
        formerly: the algorithms that signed before.
    """

    signing: str
    next: NextKey | None = None
    retiring: Mapping[str, datetime] = field(default_factory=dict)
    formerly: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """What stands in a folder of keys.

    Attributes:
        files: where each key stands, by `kid`.
        keys: every key, retired ones too.
    """

    path: Path
    manifest: Manifest
    keys: tuple[Key, ...]
    files: Mapping[str, Path]

    def ring_at(self, now: datetime) -> KeyRing:
        """Return the keys that sign and verify at `now`.

        Raises:
            KeyFileError: a key is weak, or the one that signs is not there.
        """
        retiring = self.manifest.retiring
        good = [key for key in self.keys if key.kid not in retiring or now < retiring[key.kid]]
        try:
            return KeyRing(good, self.manifest.signing)
        except ValueError as error:
            raise KeyFileError(f"{self.path}: {error}") from None

    def retires_next(self, now: datetime) -> datetime | None:
        """Return when the next key retires after `now`, None if none will."""
        return min(
            (until for until in self.manifest.retiring.values() if until > now), default=None
        )


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


def read_key_folder(folder: Path) -> KeyFolder:
    """Return what stands in `folder`.

    Raises:
        KeyFileError: there is no key, one stands there twice, a file is malformed or open to
            others, or it is not clear which key signs.
    """
    path = folder / MANIFEST_NAME
    try:
        files = {file: _read_key(file) for file in _key_paths(folder)}
        manifest = _read_manifest(path) if path.exists() else None
    except OSError as error:
        raise KeyFileError(f"{error.filename}: {error.strerror}") from None
    keys = tuple(files.values())
    if not keys:
        raise KeyFileError(f"{folder}: there is no key file (*.jwk, *.pem)")
    if manifest is None:
        if len(keys) > 1:
            raise KeyFileError(f"{path}: missing, and several keys could be the signing one")
        manifest = Manifest(keys[0].kid)
    by_kid: dict[str, Path] = {}
    for file, key in files.items():
        if key.kid in by_kid:
            raise KeyFileError(f"{folder}: key {key.kid} is there twice")
        by_kid[key.kid] = file
    if manifest.next is not None and manifest.next.kid not in by_kid:
        raise KeyFileError(f"{folder}: there is no key {manifest.next.kid!r} to sign next")
    return KeyFolder(folder, manifest, keys, by_kid)


def load_key_ring(folder: Path, now: datetime) -> KeyRing:
    """Return the keys in `folder` that are good at `now`, one of them the signing key.

    Raises:
        KeyFileError: as `read_key_folder` and `KeyFolder.ring_at`.
    """
    return read_key_folder(folder).ring_at(now)


def ensure_key(folder: Path, algorithm: SigningAlgorithm, now: datetime) -> KeyFolder:
    """Return what stands in `folder`; on the first start, make it and a key for `algorithm`.

    However many processes start at once, one of them makes the key and all return it.

    Raises:
        KeyFileError: as `load_key_ring`, or the signing key is for another algorithm, which is
            neither one that it took over from nor the one that signs next.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _holds_anything(folder):
            with locked(folder):
                if not _holds_anything(folder):
                    key = generate_key(algorithm)
                    # The key goes first: a manifest never names a key that isn't there.
                    store_key(folder, key)
                    store_manifest(folder, Manifest(key.kid))
    except OSError as error:
        raise KeyFileError(f"{error.filename or folder}: {error.strerror}") from None
    found = read_key_folder(folder)
    ring = found.ring_at(now)
    signing, following = ring.signing_key, found.manifest.next
    expected = {signing.algorithm, *found.manifest.formerly}
    if following is not None:
        expected.add(ring.by_kid[following.kid].algorithm)
    if algorithm not in expected:
        raise KeyFileError(
            f"{folder}: its signing key {signing.kid} is for {signing.algorithm}, not {algorithm}"
        )
    return found


def fingerprint(folder: Path) -> object:
    """Return what is another as soon as anything in the folder has changed.

    Raises:
        KeyFileError: the folder can't be read.
    """
    try:
        return tuple(
            (path.name, info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_size)
            for path in (*_key_paths(folder), folder / MANIFEST_NAME)
            # What a mounted secret holds are links: what they point to counts.
            if (info := _stat(path)) is not None
        )
    except OSError as error:
        raise KeyFileError(f"{error.filename}: {error.strerror}") from None


def store_key(folder: Path, key: Key) -> None:
    """Write a key, before the manifest that speaks of it."""
    _write(folder / f"{key.kid}.jwk", key.to_jwk() | {"kid": key.kid})


def store_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest."""
    content: dict[str, object] = {"version": _MANIFEST_VERSION, "signing": manifest.signing}
    if manifest.next is not None:
        published_at = _told(manifest.next.published_at)
        content["next"] = {"kid": manifest.next.kid, "published_at": published_at}
    if manifest.retiring:
        content["retiring"] = {kid: _told(until) for kid, until in manifest.retiring.items()}
    if manifest.formerly:
        content["formerly"] = sorted(manifest.formerly)
    _write(folder / MANIFEST_NAME, content)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let nobody else change the folder inside the block."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # The kernel gives the lock back when its holder dies: no lock file can be left behind.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        # What was renamed into the folder outlives a power cut only once the folder is written.
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _key_paths(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in _KEY_SUFFIXES and not path.name.startswith(".")
    )


def _holds_anything(folder: Path) -> bool:
    return (folder / MANIFEST_NAME).exists() or bool(_key_paths(folder))


def _read_key(path: Path) -> Key:
    content = _read_guarded(path, forbidden=stat.S_IRWXG | stat.S_IRWXO)
    try:
        if path.suffix == ".pem":
            return Key.from_pem(content)
        return Key.from_jwk(_json_object(content))
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from None


def _read_manifest(path: Path) -> Manifest:
    content = _read_guarded(path, forbidden=stat.S_IWGRP | stat.S_IWOTH)
    try:
        return _manifest_of(_json_object(content))
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from None


def _manifest_of(content: Mapping[str, object]) -> Manifest:
    if content.get("version") != _MANIFEST_VERSION:
        raise ValueError(f"its version is not {_MANIFEST_VERSION}")
    signing = content.get("signing")
    if not isinstance(signing, str):
        raise ValueError("it does not say which key signs")  # noqa: TRY004 - the text is wrong
    following, retiring = content.get("next"), content.get("retiring", {})
    formerly = content.get("formerly", [])
    if following is not None and not isinstance(following, dict):
        raise ValueError("its next is no JSON object")
    if not isinstance(retiring, dict) or not isinstance(formerly, list):
        raise ValueError("its retiring or formerly are of the wrong kind")  # noqa: TRY004
    manifest = Manifest(
        signing,
        None if following is None else _next_key_of(following),
        {str(kid): _moment(until) for kid, until in retiring.items()},
        frozenset(map(str, formerly)),
    )
    kids = [signing, *([manifest.next.kid] if manifest.next else []), *manifest.retiring]
    if len(set(kids)) != len(kids):
        raise ValueError("it names one key for two things")
    return manifest


def _next_key_of(content: Mapping[str, object]) -> NextKey:
    kid = content.get("kid")
    if not isinstance(kid, str):
        raise ValueError("it does not say which key signs next")  # noqa: TRY004 - the text is wrong
    return NextKey(kid, _moment(content.get("published_at")))


def _moment(text: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("a time in it is none, or has no time zone")


def _told(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


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
            if os.geteuid() == 0:
                # An operator who is root writes for the service, which may be somebody else.
                owner = path.parent.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(json.dumps(content) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
