"""What the processes of one deployment must know of each other, kept in the store."""

from abc import abstractmethod
from datetime import timedelta
from typing import Protocol


class DeploymentRecord(Protocol):
    """One record for all processes that share a store.

    Each method is one atomic change or read of the store, on its own.
    """

    @abstractmethod
    async def record_access_ttl(self, access_ttl: timedelta) -> None:
        """Record how long the access tokens of this process live, before it issues the first one.

        The record must never decrease: a shorter lifetime than the recorded one changes nothing.
        From the moment when this returns, every revocation entry outlives such a token; see
        `RevocationWriter`.

        Args:
            access_ttl: the lifetime; a part of a second is rounded up.

        Raises:
            StoreUnavailable: nothing is recorded, or it is unknown whether it is.
        """

    @abstractmethod
    async def record_feed(self, feed_id: str | None) -> None:
        """Record the feed that the service follows, in place of what was recorded before.

        Args:
            feed_id: the identity of the feed (`RevocationFeed.get_id`), None for no feed.

        Raises:
            StoreUnavailable: nothing is recorded, or it is unknown whether it is.
        """

    @abstractmethod
    async def get_feed(self) -> str | None:
        """Return the identity of the feed that the service follows, None for no feed.

        Raises:
            StoreUnavailable: the record can't be read.
        """
