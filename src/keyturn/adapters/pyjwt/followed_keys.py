"""The keys of a folder, as they are now: a change is taken on without a restart."""

import asyncio
import threading
from datetime import datetime, timedelta
from pathlib import Path

from keyturn.adapters.pyjwt.jwks import jwks_of
from keyturn.adapters.pyjwt.key_files import (
    KeyFileError,
    KeyFolder,
    ensure_key,
    fingerprint,
    read_key_folder,
)
from keyturn.adapters.pyjwt.key_ring import Key, KeyRing, SigningAlgorithm, SigningTokenKeys
from keyturn.ports.system import Clock
from keyturn.ports.tokens import TokenSigner

COOLDOWN = timedelta(milliseconds=100)
"""However many unknown `kid`s come, the folder is looked at only this often because of them.

Short, since what another worker has just signed with a new key must not be refused here.
"""


class FollowedKeys(SigningTokenKeys):
    """Holds the key ring of a folder and swaps it for another when the folder has changed.

    A folder that can't be used, for a moment or for long, changes nothing: the last good ring
    stays.
    """

    def __init__(self, folder: Path, algorithm: SigningAlgorithm, clock: Clock) -> None:
        """Read the folder; on the first start, make it and a key for `algorithm`.

        Raises:
            KeyFileError: as `ensure_key`.
        """
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        now = clock.now()
        found = ensure_key(folder, algorithm, now)
        # What changed between the two reads is noticed at the next look.
        self._seen: object = None
        self._problem: str | None = None
        self._asked_at: datetime | None = None
        self._take(found, now)

    @property
    def ring(self) -> KeyRing:
        """The keys as they are now."""
        return self._ring

    @property
    def signer(self) -> TokenSigner:
        """What signs now."""
        return self._ring.signer

    def find(self, kid: str) -> Key | None:
        """Return the key of this `kid`, having looked for a new one if it is unknown."""
        key = self._ring.find(kid)
        if key is not None:
            return key
        now = self._clock.now()
        if self._asked_at is not None and abs(now - self._asked_at) < COOLDOWN:
            return None
        self._asked_at = now
        try:
            self.look()
        except KeyFileError:
            # Whoever follows the folder says so; the token is simply not ours.
            return None
        return self._ring.find(kid)

    def jwks(self) -> bytes:
        """Return the public keys as a JWK Set: those that sign, will sign and have signed."""
        return self._jwks

    async def follow(self) -> None:
        """Look once whether the folder has changed, without holding up the event loop.

        Raises:
            KeyFileError: the folder can't be used; the last good ring stays.
        """
        await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Look once whether the folder has changed, and read it if so.

        Raises:
            KeyFileError: the folder can't be used; the last good ring stays.
        """
        with self._lock:
            now = self._clock.now()
            seen = fingerprint(self._folder)
            is_due = self._retires_next is not None and now >= self._retires_next
            if seen == self._seen and not is_due:
                if self._problem is not None:
                    raise KeyFileError(self._problem)
                return
            self._seen = seen
            try:
                self._take(read_key_folder(self._folder), now)
            except KeyFileError as error:
                self._problem = str(error)
                # The ring stays, but not beyond the time of a key that retires.
                self._take(self._found, now)
                raise
            self._problem = None

    def _take(self, found: KeyFolder, now: datetime) -> None:
        ring = found.ring_at(now)
        self._found = found
        self._jwks = jwks_of(ring)
        self._retires_next = found.retires_next(now)
        self._ring = ring
