"""One atomic change of a SQL database."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, literal, select

from keyturn.adapters.sqlalchemy.audit_trail import SqlAuditTrail
from keyturn.adapters.sqlalchemy.database import Database, StagedWrite, Staging
from keyturn.adapters.sqlalchemy.families import SqlFamilyRepository
from keyturn.adapters.sqlalchemy.mails import SqlOutbox
from keyturn.adapters.sqlalchemy.one_time_tokens import SqlOneTimeTokenRepository
from keyturn.adapters.sqlalchemy.revocations import SqlRevocationWriter
from keyturn.adapters.sqlalchemy.users import SqlRoleRepository, SqlUserRepository
from keyturn.domain.revocation import Revocation
from keyturn.ports.persistence import (
    AuditTrail,
    FamilyRepository,
    OneTimeTokenRepository,
    Outbox,
    RevocationCallback,
    RevocationWriter,
    RoleRepository,
    UnitOfWork,
    UserRepository,
)
from keyturn.ports.revocations import RevocationFeed

_IDLE = select(literal(1))


def _nobody_asked(revocations: Sequence[Revocation]) -> None:
    """Take no notice: nobody in this process follows the list."""


class SqlUnitOfWork(UnitOfWork):
    """Reads at once, one statement each; writes at the commit.

    It holds no connection between its calls, so that one which is left open, or cancelled, costs
    nobody anything.
    """

    def __init__(
        self,
        database: Database,
        on_revoked: RevocationCallback = _nobody_asked,
        feed: RevocationFeed | None = None,
    ) -> None:
        """Work on `database` and tell `on_revoked` what a commit has revoked.

        Args:
            database: where it all is.
            on_revoked: told after the commit, for this process.
            feed: where the other processes follow revocations, unless they read them from the
                database by a `SqlRevocationList`.
        """
        self._database = database
        self._on_revoked = on_revoked
        self._feed = feed
        self._staging = Staging()

    @property
    def users(self) -> UserRepository:
        """The users."""
        return SqlUserRepository(self._database, self._staging)

    @property
    def roles(self) -> RoleRepository:
        """The roles."""
        return SqlRoleRepository(self._database, self._staging)

    @property
    def families(self) -> FamilyRepository:
        """The families."""
        return SqlFamilyRepository(self._database, self._staging)

    @property
    def revocations(self) -> RevocationWriter:
        """The revocations that this unit of work adds."""
        return SqlRevocationWriter(self._staging)

    @property
    def one_time_tokens(self) -> OneTimeTokenRepository:
        """The one-time tokens."""
        return SqlOneTimeTokenRepository(self._database, self._staging)

    @property
    def outbox(self) -> Outbox:
        """The mails that this unit of work asks for."""
        return SqlOutbox(self._staging)

    @property
    def audit(self) -> AuditTrail:
        """The audit trail."""
        return SqlAuditTrail(self._database, self._staging)

    def idle(self, exchanges: int) -> None:
        """Stage statements that change nothing."""

        def apply(connection: Connection) -> None:
            connection.execute(_IDLE)

        idle = StagedWrite(apply, is_single_statement=True)
        self._staging.writes.extend([idle] * exchanges)

    async def commit(self) -> None:
        """Apply everything staged, or nothing."""
        staging = self._staging
        changes = [*staging.locks, *staging.writes, *staging.checks]
        feed = self._feed if staging.may_revoke else None
        receipt: str | None = None

        async def announce() -> None:
            nonlocal receipt
            # Only now is it known whom the writes concern.
            if feed is not None and staging.revoked:
                receipt = await feed.announce(tuple(staging.revoked))

        await self._database.commit(changes, None if feed is None else announce)
        revoked = tuple(staging.revoked)
        staging.clear()
        if revoked:
            self._on_revoked(revoked)
        if feed is not None and receipt is not None:
            await feed.confirm(revoked, receipt)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._staging.clear()
