"""A process records in the store what the other processes must know of it."""

from keyturn.domain.policies import SessionPolicy
from keyturn.ports.deployment import DeploymentRecord
from keyturn.ports.revocations import RevocationFeed


class RecordDeployment:
    """Records the lifetime of access tokens and the feed that this service follows.

    A service executes it when it starts, and regularly afterwards: a store that was restored from a
    copy gets the record again, and a feed that has lost its data gets its identity again.
    """

    def __init__(
        self, deployment: DeploymentRecord, policy: SessionPolicy, feed: RevocationFeed | None
    ) -> None:
        """Record the lifetime of `policy`, and `feed`, None for a service without one."""
        self._deployment = deployment
        self._policy = policy
        self._feed = feed
        self._has_cleared = False

    async def execute(self) -> None:
        """Record both; executing it again changes nothing that is still right.

        A service without a feed clears the recorded feed once, when it starts. It does not do so
        again, so that it does not undo what a service with a feed records beside it.

        Raises:
            StoreUnavailable: the store or the feed does not answer.
        """
        await self._deployment.record_access_ttl(self._policy.access_ttl)
        if self._feed is not None:
            recorded = await self._deployment.get_feed()
            feed_id = await self._feed.ensure_id(recorded)
            if feed_id != recorded:
                await self._deployment.record_feed(feed_id)
        elif not self._has_cleared:
            await self._deployment.record_feed(None)
            self._has_cleared = True
