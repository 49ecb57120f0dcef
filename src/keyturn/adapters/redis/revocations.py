"""Revocations through a Redis stream, with the store behind it where they are durable.

The stream begins with an entry `0-1` that holds the random name of its life. A stream that was
emptied, evicted or restored begins another life, and a Redis that was restarted, or took over from
another, says so itself: whoever follows then no longer trusts what they have read to be all, and
reads the durable list as well. `docs/decisions/0008-revocation-list.md` has the proof.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from keyturn.domain.errors import StoreUnavailable
from keyturn.domain.revocation import Revocation, RevocationKind
from keyturn.ports.revocations import RevocationFeed, RevocationList, RevocationPage
from keyturn.ports.system import Clock

TIMEOUT: Final = 1.0
"""Seconds that Redis may take for one answer, a new connection included."""

BATCH: Final = 500
"""Entries that are written or read at once, so that Redis is held up by nobody for long."""

_DURABLE_PAGES: Final = 16
"""Pages of the durable list that are kept, each for one cursor."""

_log = logging.getLogger("keyturn.revocations")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BEGINNING = "0-1"
_END = "18446744073709551615-0"
# The life of a stream; the id of one of its entries, in milliseconds and a number; when the durable
# list was read, in seconds; and its cursor.
_CURSOR = re.compile(
    r"([0-9a-f]{40}/[0-9a-f]{40}/[0-9a-f]{16})/([0-9]{1,19}-[0-9]{1,19})/([0-9]{1,12})/(.{0,60})"
)

_BEGIN_LIFE = """
local stream = KEYS[1]
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
if #first == 0 or first[1][1] ~= '0-1' then
  redis.call('DEL', stream)
  redis.call('XADD', stream, '0-1', 'life', ARGV[1])
  first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
end
local life = first[1][2][2]
"""

_READ = (
    _BEGIN_LIFE
    + """
return {life, redis.call('XRANGE', stream, '(' .. ARGV[2], '+', 'COUNT', ARGV[3])}
"""
)

_APPEND = (
    _BEGIN_LIFE
    + """
for i = 4, #ARGV, 4 do
  redis.call('XADD', stream, '*', 'kind', ARGV[i], 'subject', ARGV[i + 1],
             'epoch', ARGV[i + 2], 'expires_at', ARGV[i + 3])
end
for _, entry in ipairs(redis.call('XRANGE', stream, '(0-1', '+', 'COUNT', ARGV[3])) do
  -- A malformed entry, which may have no expiry, must not keep back what comes after it.
  local expires_at = tonumber(entry[2][8] or '')
  if expires_at and expires_at <= tonumber(ARGV[2]) then
    redis.call('XDEL', stream, entry[1])
  end
end
return {life, {}}
"""
)


class RedisFailure(Exception):
    """Why Redis did not do it, for the operator's log."""


@dataclass(frozen=True, slots=True, eq=False)
class _Unconfirmed:
    """What was committed, and of which it is not known that the feed still tells it."""

    revocations: tuple[Revocation, ...]
    life: str


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the stream brought.

    Attributes:
        life: while it is the same, nothing that was written to the stream has been lost.
        entries: those of a batch that can be understood, from the oldest on.
        malformed: how many of the batch can't be understood.
        last: the id of the last of the batch, or where the look began.
    """

    life: str
    entries: tuple[Revocation, ...]
    malformed: int
    last: str

    @property
    def is_full(self) -> bool:
        """Whether there may be more."""
        return len(self.entries) + self.malformed == BATCH


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Where a follower has arrived in the stream and in the durable list.

    Attributes:
        life, last: see `_Look`.
        durable_read_at: when the follower last read the durable list, whole seconds of Unix time.
        durable: its cursor in the durable list.
    """

    life: str
    last: str
    durable_read_at: int
    durable: str

    @staticmethod
    def parse(text: str | None) -> "_Cursor | None":
        """Return the cursor that `str` has written, None for any other text."""
        known = _CURSOR.fullmatch(text or "")
        if known is None:
            return None
        life, last, durable_read_at, durable = known.groups()
        return _Cursor(life, last, int(durable_read_at), durable)

    def __str__(self) -> str:
        return f"{self.life}/{self.last}/{self.durable_read_at}/{self.durable}"


class RedisRevocationList(RevocationList, RevocationFeed):
    """A list that is followed through Redis, and kept by the store that `durable` reads.

    It is both ends of the feed. The units of work that revoke are handed it too, and go on
    writing their own list:

    ```python
    revocation_list = RedisRevocationList(url, SqlRevocationList(database), clock)
    replica = RevocationReplica(revocation_list, clock, max_staleness)
    unit_of_work = SqlUnitOfWork(database, replica.apply, revocation_list)
    ```

    One object serves all units of work and the replica of a process. Every process of a
    deployment should have it, or none. A follower also reads the durable list twice in each
    `max_staleness`, so that it learns in that time what a process without the feed has revoked.
    Needs Redis 6.2 or later, or what speaks its protocol; not a Redis Cluster, and not a read
    replica.
    """

    def __init__(
        self,
        url: str,
        durable: RevocationList,
        clock: Clock,
        *,
        max_staleness: timedelta = timedelta(seconds=10),
        key: str = "keyturn:revocations",
    ) -> None:
        """Follow and feed the stream `key`; nothing connects before the first call.

        Args:
            url: `redis://:password@host:6379/0`, `rediss://...` or `unix:///path?db=0`.
            durable: the list where the same revocations are written with their changes.
            clock: tells which entries have expired and can leave the stream.
            max_staleness: a follower reads the durable list too, twice in this time. While it
                can't, each `read` fails.
            key: the name of the stream; deployments that share a Redis need different ones.

        Raises:
            ValueError: the URL is of no known kind; the message repeats no part of it.
        """
        try:
            self._redis: Redis = Redis.from_url(
                url,
                decode_responses=True,
                # What is no text must not fail the whole answer: it makes one malformed entry.
                encoding_errors="replace",
                socket_timeout=TIMEOUT,
                socket_connect_timeout=TIMEOUT,
                # The server may have closed a connection that was idle for long.
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError:
            raise ValueError(
                "the Redis URL must begin with redis://, rediss:// or unix://"
            ) from None
        self._durable = durable
        self._clock = clock
        self._durable_is_due_after = max_staleness.total_seconds() / 2
        self._key = key
        self._id_key = f"{key}:id"
        self._durable_pages: dict[str, tuple[int, RevocationPage]] = {}
        self._unconfirmed: set[_Unconfirmed] = set()

    async def read(self, after: str | None) -> RevocationPage:
        """Return what was added since; all of it for None, or after Redis has lost entries."""
        await self._confirm_all()
        known = _Cursor.parse(after)
        if known is None:
            return await self._read_all()
        entries: list[Revocation] = []
        malformed = 0
        last = known.last
        while True:
            look = await self._look(last)
            if look.life != known.life:
                return await self._read_all()
            entries += look.entries
            malformed += look.malformed
            last = look.last
            if not look.is_full:
                break
        _log_malformed(malformed)
        if self._is_young(known.durable_read_at) and not malformed:
            return RevocationPage(tuple(entries), str(replace(known, last=last)))
        read_at, durable = await self._read_durable(known.durable, afresh=malformed > 0)
        merged = dict.fromkeys((*entries, *durable.revocations))
        cursor = _Cursor(known.life, last, read_at, durable.cursor)
        return RevocationPage(tuple(merged), str(cursor))

    async def announce(self, revocations: Sequence[Revocation]) -> str:
        """Append entries to the stream and return the life of it that they are in."""
        lives = [
            await self._append(revocations[start : start + BATCH])
            for start in range(0, len(revocations), BATCH)
        ]
        # If the first is still the life at the confirmation, there was no other in between.
        return lives[0]

    async def confirm(self, revocations: Sequence[Revocation], receipt: str) -> None:
        """Append the entries once more if Redis has lost them between announcement and commit.

        While Redis does not answer this is left to the next `read`, which fails as long.
        """
        # Noted before anything is awaited, so that a cancellation forgets nothing.
        self._unconfirmed.add(_Unconfirmed(tuple(revocations), receipt))
        try:
            await self._confirm_all()
        except StoreUnavailable:
            return

    async def get_id(self) -> str | None:
        """Return the identity that is kept in Redis, None where there is none (any more)."""
        async with _store_errors(), asyncio.timeout(2 * TIMEOUT):
            found = await self._redis.get(self._id_key)
        return None if found is None else str(found)

    async def ensure_id(self, known: str | None) -> str:
        """Return the identity that is kept in Redis, having put one there where it had none."""
        async with _store_errors(), asyncio.timeout(2 * TIMEOUT):
            pipeline: Any = self._redis.pipeline(transaction=True)
            pipeline.set(self._id_key, known or secrets.token_hex(16), nx=True)
            pipeline.get(self._id_key)
            _, found = await pipeline.execute()
        return str(found)

    async def ping(self) -> None:
        """Return if Redis answers.

        Raises:
            StoreUnavailable: it does not.
        """
        await self._look(_END)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def _confirm_all(self) -> None:
        if not self._unconfirmed:
            return
        waiting = tuple(self._unconfirmed)
        life = (await self._look(_END)).life
        for announced in waiting:
            if announced.life != life:
                await self.announce(announced.revocations)
            self._unconfirmed.discard(announced)

    async def _read_all(self) -> RevocationPage:
        # The stream first: what is committed between the two is then in the one or the other.
        look = await self._look(_BEGINNING)
        entries = list(look.entries)
        malformed = look.malformed
        life = look.life
        while look.is_full:
            look = await self._look(look.last)
            if look.life != life:
                raise StoreUnavailable from RedisFailure("it lost its data while it was read")
            entries += look.entries
            malformed += look.malformed
        _log_malformed(malformed)
        now = self._now()
        durable = await self._durable.read(None)
        known = dict.fromkeys((*entries, *durable.revocations))
        return RevocationPage(tuple(known), str(_Cursor(life, look.last, now, durable.cursor)))

    async def _look(self, after: str) -> _Look:
        life, entries = await self._run(_READ, after, str(BATCH))
        understood = tuple(
            revocation
            for _, values in entries
            if (revocation := _to_revocation(values)) is not None
        )
        return _Look(
            life,
            understood,
            len(entries) - len(understood),
            entries[-1][0] if entries else after,
        )

    async def _read_durable(self, after: str, *, afresh: bool) -> tuple[int, RevocationPage]:
        """Return what the durable list adds to a cursor, and when it was read.

        A follower to whom nothing is new keeps its cursor, and so asks again and again. Until the
        next reading is due it gets the page of the last one.
        """
        known = self._durable_pages.get(after)
        if known is not None and self._is_young(known[0]) and not afresh:
            return known
        read_at = self._now()
        page = await self._durable.read(after)
        if len(self._durable_pages) >= _DURABLE_PAGES:
            self._durable_pages.clear()
        self._durable_pages[after] = (read_at, page)
        return read_at, page

    def _is_young(self, durable_read_at: int) -> bool:
        # A clock that was set back makes a reading neither young nor old: distance counts.
        return abs(self._now() - durable_read_at) < self._durable_is_due_after

    def _now(self) -> int:
        return int(self._clock.now().timestamp())

    async def _append(self, revocations: Sequence[Revocation]) -> str:
        now = str((self._clock.now() - _EPOCH) // _MICROSECOND)
        values = [value for revocation in revocations for value in _to_values(revocation)]
        life, _ = await self._run(_APPEND, now, str(BATCH), *values)
        return life

    async def _run(self, script: str, *arguments: str) -> tuple[str, list[tuple[str, list[str]]]]:
        async with _store_errors(), asyncio.timeout(2 * TIMEOUT):
            # Together, so that they tell of the same server at the same moment.
            pipeline: Any = self._redis.pipeline(transaction=True)
            pipeline.info("server")
            pipeline.info("replication")
            pipeline.eval(script, 1, self._key, secrets.token_hex(8), *arguments)
            server, replication, (life, entries) = await pipeline.execute()
        run, history = server["run_id"], replication["master_replid"]
        return f"{run}/{history}/{life}", entries


def _to_values(revocation: Revocation) -> tuple[str, str, str, str]:
    return (
        revocation.kind.value,
        revocation.subject.hex,
        str(revocation.epoch),
        str((revocation.expires_at - _EPOCH) // _MICROSECOND),
    )


def _to_revocation(values: Sequence[Any]) -> Revocation | None:
    # As written: names and values in turn, in the order in which they were given.
    try:
        kind, subject, epoch, expires_at = values[1::2]
        return Revocation(
            RevocationKind(kind), UUID(subject), int(epoch), _EPOCH + int(expires_at) * _MICROSECOND
        )
    except (ValueError, OverflowError):
        return None


def _log_malformed(count: int) -> None:
    if count:
        # Without the entry itself: nobody knows what it holds.
        _log.warning(
            "skipped %d malformed entries of the revocation feed in Redis; read the store instead",
            count,
        )


@asynccontextmanager
async def _store_errors() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        failure = RedisFailure(_described(error)).with_traceback(error.__traceback__)
        raise StoreUnavailable from failure


def _described(error: Exception) -> str:
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    # An answer of the server may repeat what it was sent.
    return kind if isinstance(error, ResponseError) else f"{kind}: {error}"
