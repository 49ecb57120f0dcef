"""What the processes that share a SQL database know of each other."""

from datetime import timedelta

from sqlalchemy import Connection, bindparam, select, update

from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.failures import StoreFailure
from keyturn.adapters.sqlalchemy.tables import deployment
from keyturn.domain.errors import StoreUnavailable
from keyturn.ports.deployment import DeploymentRecord

_recorded = deployment.c

# Where nothing changes, PostgreSQL locks nothing.
_RAISE_ACCESS_TTL = (
    update(deployment)
    .where(_recorded.longest_access_ttl < bindparam("seconds"))
    .values(longest_access_ttl=bindparam("seconds"))
)
_RECORD_FEED = update(deployment).values(revocation_feed=bindparam("feed_id"))
_GET_FEED = select(_recorded.revocation_feed)

# FOR SHARE, because a process that records a longer lifetime must wait for this transaction: it
# issues its first token after that, and finds the session revoked. Transactions that revoke do not
# wait for each other. SQLite has one writer at a time and needs no lock.
_LONGEST_ACCESS_TTL = select(_recorded.longest_access_ttl).with_for_update(read=True)


class SqlDeploymentRecord(DeploymentRecord):
    """The record in a `Database`."""

    def __init__(self, database: Database) -> None:
        """Record in `database`."""
        self._database = database

    async def record_access_ttl(self, access_ttl: timedelta) -> None:
        """Record the lifetime of access tokens, unless a longer one is recorded."""
        seconds = -(-access_ttl // timedelta(seconds=1))
        await self._database.execute(_RAISE_ACCESS_TTL, {"seconds": seconds})

    async def record_feed(self, feed_id: str | None) -> None:
        """Record the feed that the service follows."""
        await self._database.execute(_RECORD_FEED, {"feed_id": feed_id})

    async def get_feed(self) -> str | None:
        """Return the feed that the service follows."""
        rows = await self._database.fetch(_GET_FEED, {})
        return rows[0][0] if rows else None


def longest_access_ttl(connection: Connection) -> timedelta:
    """Return the longest recorded lifetime; nobody raises it before the transaction ends.

    Raises:
        StoreUnavailable: the record is gone, so nobody knows how long an entry must live.
    """
    seconds = connection.execute(_LONGEST_ACCESS_TTL).scalar_one_or_none()
    if seconds is None:
        raise StoreUnavailable from StoreFailure("the table deployment has lost its row")
    return timedelta(seconds=seconds)
