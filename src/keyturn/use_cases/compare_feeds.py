"""A process beside the service asks whether the service would learn of its revocations."""

from enum import StrEnum

from keyturn.ports.deployment import DeploymentRecord
from keyturn.ports.revocations import RevocationFeed


class FeedComparison(StrEnum):
    """How the feed of this process compares with the one that the service recorded."""

    SAME = "same"
    """The service follows this feed, or none: it learns of every revocation in time."""

    MISSING = "missing"
    """The service follows a feed, and this process has none."""

    DIFFERENT = "different"
    """The service follows another feed, or this one has lost its identity."""


class CompareFeeds:
    """Compares the feed of this process with the one that the service recorded."""

    def __init__(self, deployment: DeploymentRecord, feed: RevocationFeed | None) -> None:
        """Compare `feed`, None for a process without one."""
        self._deployment = deployment
        self._feed = feed

    async def execute(self) -> FeedComparison:
        """Return the comparison; changes nothing.

        Raises:
            StoreUnavailable: the store or the feed does not answer.
        """
        recorded = await self._deployment.get_feed()
        if recorded is None:
            return FeedComparison.SAME
        if self._feed is None:
            return FeedComparison.MISSING
        found = await self._feed.get_id()
        return FeedComparison.SAME if found == recorded else FeedComparison.DIFFERENT
