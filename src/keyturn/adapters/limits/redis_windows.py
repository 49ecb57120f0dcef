"""Windows in a Redis, which all processes share and which survive a restart of theirs."""

import math
import time
from collections.abc import Sequence
from typing import Final

from limits.aio.storage import RedisStorage
from limits.errors import StorageError
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

TIMEOUT: Final = 1.0
"""Seconds that Redis may take for one answer, a new connection included."""

MOST_CONNECTIONS: Final = 16
"""Who finds them all in use waits for one as long as for an answer."""

_COUNT = """
local count = redis.call("INCRBY", KEYS[1], ARGV[1])
if count == tonumber(ARGV[1]) then
    redis.call("PEXPIRE", KEYS[1], ARGV[2])
end
return count
"""

# The arguments are two for each key: the most attempts of the window, and its length in ms.
_TAKE = """
local wait = -1
for i, key in ipairs(KEYS) do
    if tonumber(redis.call("GET", key) or 0) >= tonumber(ARGV[2 * i - 1]) then
        wait = math.max(wait, redis.call("PTTL", key), 0)
    end
end
if wait < 0 then
    for i, key in ipairs(KEYS) do
        if redis.call("INCR", key) == 1 then
            redis.call("PEXPIRE", key, ARGV[2 * i])
        end
    end
end
return wait
"""


class RedisWindows(RedisStorage):
    """The library's own, over the client and with the timeouts that keyturn uses elsewhere.

    Needs Redis or what speaks its protocol; not a Redis Cluster, and not a read replica.
    """

    def __init__(self, url: str, *, key_prefix: str = "keyturn:throttle") -> None:
        """Count at `url`; nothing connects before the first call.

        Args:
            url: `redis://:password@host:6379/0`, `rediss://...` or `unix:///path?db=0`.
            key_prefix: deployments that share a Redis need different ones.

        Raises:
            ValueError: the URL is of no known kind; the message repeats no part of it.
        """
        try:
            # The other pool of that library fails at once when its connections are all in use.
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=MOST_CONNECTIONS,
                timeout=TIMEOUT,
                decode_responses=True,
                socket_timeout=TIMEOUT,
                socket_connect_timeout=TIMEOUT,
                # The server may have closed a connection that was idle for long.
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError:
            raise ValueError(
                "the Redis URL must begin with redis://, rediss:// or unix://"
            ) from None
        self._redis = Redis(connection_pool=pool)
        self._count = self._redis.register_script(_COUNT)
        self._take = self._redis.register_script(_TAKE)
        super().__init__(
            "async+redis://",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix=key_prefix,
            connection_pool=pool,  # type: ignore[arg-type]  # documented, and typed otherwise
        )

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count in a window, which begins now if there is none.

        The library's own takes whole seconds, and a window that goes on elsewhere has fractions
        of them left.

        Args:
            key: of the window.
            expiry: seconds that a window lasts.
            amount: what is added.

        Returns:
            What it then holds.
        """
        return int(await self._count([self.bridge.prefixed_key(key)], [amount, _ms(expiry)]))

    async def take(self, windows: Sequence[tuple[str, float, int]]) -> float | None:
        """Count one attempt in all windows, or in none where one of them is full, by one script.

        Args:
            windows: of each its key, its length in seconds, and the attempts that it has.

        Returns:
            None if it was counted, otherwise the seconds until no window is full.
        """
        if not windows:
            return None
        keys = [self.bridge.prefixed_key(key) for key, _, _ in windows]
        arguments = [number for _, expiry, most in windows for number in (most, _ms(expiry))]
        try:
            wait = int(await self._take(keys, arguments))
        except self.base_exceptions as error:
            # The library wraps the errors of its own methods alone.
            raise StorageError(error) from error
        return None if wait < 0 else wait / 1000

    async def get_expiry(self, key: str) -> float:
        """Return when a window ends, in seconds since 1970.

        The library asks for whole seconds, which Redis rounds: half of those who come back when
        they were told to would be too early.
        """
        left = await self._redis.pttl(self.bridge.prefixed_key(key))
        return max(left, 0) / 1000 + time.time()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose(close_connection_pool=True)


def _ms(seconds: float) -> int:
    return max(1, math.ceil(1000 * seconds))
