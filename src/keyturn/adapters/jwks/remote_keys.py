"""Public keys that another service publishes, kept here so that looking one up needs no I/O."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import httpx

from keyturn.bounded_bodies import UNCOMPRESSED, read_bounded
from keyturn.domain.errors import InvalidAccessToken, Unavailable
from keyturn.ports.system import Clock

KeyT = TypeVar("KeyT")

LARGEST_KEY_SET = 256 * 1024
"""Bytes; what is longer is no key set and is read no further."""

_UNSTATED_FRESHNESS = timedelta(minutes=5)
_SHORTEST_FRESHNESS = timedelta(seconds=10)
_LONGEST_FRESHNESS = timedelta(hours=1)
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:$|[\s,])", re.IGNORECASE)


class KeysUnavailable(Unavailable):
    """The keys that tokens are signed with can't be fetched, and those known are too old."""

    code = "keys_unavailable"
    message = "The service can't tell at the moment which keys sign tokens; try again."


class UnknownKey(InvalidAccessToken):
    """The token names a key that is not known; it may have been published a moment ago."""


@dataclass(frozen=True, slots=True)
class KeyFetching:
    """When keys are fetched, and for how long they serve without.

    Args:
        cooldown: between two fetches that unknown keys cause, and after one that failed.
        max_staleness: how long keys serve after the last fetch that succeeded.

    Raises:
        ValueError: a number is out of its bounds.
    """

    cooldown: timedelta = timedelta(seconds=10)
    max_staleness: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if self.cooldown < timedelta(seconds=1):
            raise ValueError("keys can't be fetched more than once in a second")
        if self.max_staleness < self.cooldown:
            raise ValueError("keys must serve for longer than the cooldown")


class RemoteKeys(Generic[KeyT]):
    """Holds the keys of a JWK Set at a URL (RFC 7517 §5)."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        read: Callable[[Mapping[str, object]], Callable[[str], KeyT | None]],
        clock: Clock,
        fetching: KeyFetching,
    ) -> None:
        """Fetch from `url`; nothing is fetched yet.

        Args:
            read: turns the document into what looks a key up by its `kid`; a ValueError says that
                the document is no key set.
        """
        self._http = http
        self._url = url
        self._read = read
        self._clock = clock
        self._fetching = fetching
        self._find: Callable[[str], KeyT | None] | None = None
        self._etag: str | None = None
        self._fetched_at: datetime | None = None
        self._looked_at: datetime | None = None
        self._fresh_for = _UNSTATED_FRESHNESS
        self._attempts = 0
        self._failed = False
        self._one_at_a_time = asyncio.Lock()

    def find(self, kid: str) -> KeyT:
        """Return the key of this `kid`, without any I/O.

        Raises:
            UnknownKey: there is none as far as is known.
            KeysUnavailable: nothing is known, or what is known is too old.
        """
        self.check()
        key = self._find(kid) if self._find else None
        if key is None:
            raise UnknownKey
        return key

    def check(self) -> None:
        """Return if there are keys that are young enough to be used.

        Raises:
            KeysUnavailable: there are none.
        """
        # A clock that was set back makes the keys neither young nor old: distance counts.
        if self._fetched_at is None or (
            abs(self._clock.now() - self._fetched_at) > self._fetching.max_staleness
        ):
            raise KeysUnavailable

    async def refresh(self) -> None:
        """Fetch the keys; whoever comes while they are being fetched waits for that.

        Raises:
            KeysUnavailable: they can't be fetched; those known stay.
        """
        attempts = self._attempts
        async with self._one_at_a_time:
            if self._attempts == attempts:
                await self._fetch()
        if self._failed:
            raise KeysUnavailable

    async def look_again(self) -> None:
        """Fetch the keys because of an unknown one, at most once in the cooldown.

        Raises:
            KeysUnavailable: they can't be fetched.
        """
        now = self._clock.now()
        # Whoever makes up a `kid` must not make us ask the issuer each time (RFC 8725 §3.10).
        if self._looked_at is None or abs(now - self._looked_at) >= self._fetching.cooldown:
            self._looked_at = now
            await self.refresh()
        elif self._one_at_a_time.locked():
            async with self._one_at_a_time:
                pass
        if self._failed:
            raise KeysUnavailable

    def pause(self) -> timedelta:
        """Return how long to wait before the keys are fetched again: less than they are fresh."""
        if self._failed or self._fetched_at is None:
            return min(self._fetching.cooldown, self._fresh_for)
        return min(self._fresh_for, self._fetching.max_staleness) * 0.8

    async def _fetch(self) -> None:
        began = self._clock.now()
        try:
            await self._load()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            self._failed = True
            self._attempts += 1
            raise KeysUnavailable from error
        self._failed = False
        self._attempts += 1
        self._fetched_at = began

    async def _load(self) -> None:
        headers = {"Accept": "application/jwk-set+json, application/json", **UNCOMPRESSED}
        if self._etag is not None:
            headers["If-None-Match"] = self._etag
        async with self._http.stream("GET", self._url, headers=headers) as answer:
            if answer.status_code == httpx.codes.NOT_MODIFIED and self._find is not None:
                self._fresh_for = _freshness(answer)
                return
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"the key set is answered with {answer.status_code}")
            document = json.loads(await read_bounded(answer, LARGEST_KEY_SET))
            if not isinstance(document, dict):
                raise ValueError("the key set is no JSON object")  # noqa: TRY004 - the text is wrong
            self._find = self._read(document)
            self._etag = answer.headers.get("ETag")
            self._fresh_for = _freshness(answer)


def _freshness(answer: httpx.Response) -> timedelta:
    stated = _MAX_AGE.search(answer.headers.get("Cache-Control", ""))
    if stated is None:
        return _UNSTATED_FRESHNESS
    freshness = timedelta(seconds=int(stated[1]))
    return max(_SHORTEST_FRESHNESS, min(freshness, _LONGEST_FRESHNESS))
