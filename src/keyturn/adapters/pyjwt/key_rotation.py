"""How one key takes over from another, so that nobody notices.

The next key is published before it signs, and the one before it verifies until the last token
that it signed has expired. Every step is one atomic change of the manifest, under the lock of the
folder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from keyturn.adapters.pyjwt.key_files import (
    KeyFileError,
    KeyFolder,
    Manifest,
    NextKey,
    generate_key,
    locked,
    read_key_folder,
    store_key,
    store_manifest,
)
from keyturn.adapters.pyjwt.key_ring import Key, SigningAlgorithm
from keyturn.ports.system import Clock

PUBLISH_OVERLAP = timedelta(minutes=10)
"""How long a key is published before it signs: twice as long as a set of keys may be cached."""


class KeyState(StrEnum):
    """What a key is for."""

    SIGNING = "signing"
    NEXT = "next"
    RETIRING = "retiring"
    RETIRED = "retired"
    VERIFYING = "verifying"


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key and what it is for.

    Attributes:
        at: for the next key when it may sign, for one that retires when it does, else None.
        file: the name of its file.
    """

    kid: str
    algorithm: str
    state: KeyState
    at: datetime | None
    file: str


class KeyRotation:
    """Changes what the keys of a folder are for."""

    def __init__(self, folder: Path, clock: Clock, tokens_live: timedelta) -> None:
        """Change the keys in `folder`.

        Args:
            folder: where the keys are.
            clock: tells when.
            tokens_live: after which a key's last token has expired everywhere.
        """
        self._folder = folder
        self._clock = clock
        self._tokens_live = tokens_live

    def list(self) -> list[ListedKey]:
        """Return every key, the signing one first, then the next, then by `kid`.

        Raises:
            KeyFileError: the folder can't be used.
        """
        found, now = read_key_folder(self._folder), self._clock.now()
        found.ring_at(now)
        order = list(KeyState)
        listed = [_listed(found, key, now) for key in found.keys]
        return sorted(listed, key=lambda each: (order.index(each.state), each.kid))

    def generate(self, algorithm: str | None = None) -> ListedKey:
        """Make the next key and publish it.

        Args:
            algorithm: that of the signing key if None.

        Raises:
            KeyFileError: there is a next key already, or the folder can't be used.
        """
        with self._changing() as (found, now):
            if found.manifest.next is not None:
                kid = found.manifest.next.kid
                raise KeyFileError(f"{self._folder}: key {kid} is the next one already")
            return self._add_next(found, now, algorithm)

    def rotate(self, *, at_once: bool = False) -> ListedKey:
        """Let the next key sign; where there is none, make and publish it first.

        Args:
            at_once: wait for nothing; those who verify and cache keys may refuse tokens until
                they have looked again.

        Returns:
            The key that signs now, or the one that has only been published and signs at the next
            call, from the time that it says.

        Raises:
            KeyFileError: the next key has not been published for long enough, or the folder can't
                be used.
        """
        with self._changing() as (found, now):
            following = found.manifest.next
            if following is None:
                published = self._add_next(found, now, None)
                if not at_once:
                    return published
                return self._let_sign(read_key_folder(self._folder), published.kid, now)
            signs_from = following.published_at + PUBLISH_OVERLAP
            if now < signs_from and not at_once:
                raise KeyFileError(
                    f"{self._folder}: key {following.kid} must not sign before"
                    f" {signs_from:%Y-%m-%d %H:%M:%S} UTC, when everybody knows it;"
                    " in an emergency, --now lets it sign at once"
                )
            return self._let_sign(found, following.kid, now)

    def retire(self, kid: str, *, at_once: bool = False) -> datetime | None:
        """Let a key go: when its last token has expired, or at once.

        Args:
            kid: of a key that does not sign.
            at_once: its tokens die with it.

        Returns:
            When it retires; None if it is gone now.

        Raises:
            KeyFileError: there is no such key, it signs, or the folder can't be used.
        """
        with self._changing() as (found, now):
            if kid not in found.files:
                raise KeyFileError(f"{self._folder}: there is no key {kid!r}")
            manifest = found.manifest
            if kid == manifest.signing:
                raise KeyFileError(f"{self._folder}: key {kid} signs; rotate first")
            if manifest.next is not None and kid == manifest.next.kid:
                # It has signed nothing.
                manifest, until = replace(manifest, next=None), now
            else:
                until = manifest.retiring.get(kid, now + self._tokens_live)
            if at_once:
                until = now
            # Told before it is done: should the file stay, its key is retired all the same.
            manifest = replace(manifest, retiring={**manifest.retiring, kid: until})
            store_manifest(self._folder, manifest)
            self._remove_retired(replace(found, manifest=manifest), now)
            return until if until > now else None

    @contextmanager
    def _changing(self) -> Iterator[tuple[KeyFolder, datetime]]:
        try:
            with locked(self._folder):
                found, now = read_key_folder(self._folder), self._clock.now()
                # Nothing is built on keys that no service would start with.
                found.ring_at(now)
                yield found, now
        except OSError as error:
            raise KeyFileError(f"{error.filename or self._folder}: {error.strerror}") from None

    def _add_next(self, found: KeyFolder, now: datetime, algorithm: str | None) -> ListedKey:
        signing = next(key for key in found.keys if key.kid == found.manifest.signing)
        key = generate_key(SigningAlgorithm(algorithm or signing.algorithm))
        # Were there none, two keys without it would leave open which one signs.
        store_manifest(self._folder, found.manifest)
        store_key(self._folder, key)
        manifest = replace(found.manifest, next=NextKey(key.kid, now))
        store_manifest(self._folder, manifest)
        self._remove_retired(replace(found, manifest=manifest), now)
        return _listed(read_key_folder(self._folder), key, now)

    def _let_sign(self, found: KeyFolder, kid: str, now: datetime) -> ListedKey:
        keys = {key.kid: key for key in found.keys}
        before, signing = keys[found.manifest.signing], keys[kid]
        manifest = Manifest(
            kid,
            None,
            {**found.manifest.retiring, before.kid: now + self._tokens_live},
            (found.manifest.formerly | {before.algorithm.value}) - {signing.algorithm.value},
        )
        store_manifest(self._folder, manifest)
        rotated = replace(found, manifest=manifest)
        self._remove_retired(rotated, now)
        return _listed(rotated, signing, now)

    def _remove_retired(self, found: KeyFolder, now: datetime) -> None:
        retiring = found.manifest.retiring
        over = {kid for kid, until in retiring.items() if until <= now}
        if not over:
            return
        for kid in over & found.files.keys():
            found.files[kid].unlink(missing_ok=True)
        # Only now: a key that is not named would verify again.
        left = {kid: until for kid, until in retiring.items() if kid not in over}
        store_manifest(self._folder, replace(found.manifest, retiring=left))


def _listed(found: KeyFolder, key: Key, now: datetime) -> ListedKey:
    manifest, state, at = found.manifest, KeyState.VERIFYING, None
    if key.kid == manifest.signing:
        state = KeyState.SIGNING
    elif manifest.next is not None and key.kid == manifest.next.kid:
        state, at = KeyState.NEXT, manifest.next.published_at + PUBLISH_OVERLAP
    elif key.kid in manifest.retiring:
        at = manifest.retiring[key.kid]
        state = KeyState.RETIRING if now < at else KeyState.RETIRED
    return ListedKey(key.kid, key.algorithm.value, state, at, found.files[key.kid].name)
