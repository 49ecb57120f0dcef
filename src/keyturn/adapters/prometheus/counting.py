"""Counts what the use-cases do, around them, so that they need not know that they are counted."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from keyturn.domain.errors import MailRefused, MailUnavailable
from keyturn.domain.events import AuditEvent
from keyturn.domain.ids import EventId
from keyturn.domain.mail import Mail
from keyturn.ports.mail import Mailer
from keyturn.ports.persistence import (
    AuditFilter,
    AuditTrail,
    FamilyRepository,
    OneTimeTokenRepository,
    Outbox,
    RevocationWriter,
    RoleRepository,
    UnitOfWork,
    UserRepository,
)
from keyturn.use_cases.rotate_refresh import (
    RefreshOutcome,
    RotateRefresh,
    RotateRefreshCommand,
    RotateRefreshResult,
)

EventCounter = Callable[[AuditEvent], None]
"""Told of each audit event that has been committed."""


class CountingUnitOfWork(UnitOfWork):
    """Another unit of work, whose audit events are counted once they are committed."""

    def __init__(self, inner: UnitOfWork, count: EventCounter) -> None:
        """Do what `inner` does, and tell `count`."""
        self._inner = inner
        self._count = count
        self._noted: list[AuditEvent] = []

    @property
    def users(self) -> UserRepository:
        """The users."""
        return self._inner.users

    @property
    def roles(self) -> RoleRepository:
        """The roles."""
        return self._inner.roles

    @property
    def families(self) -> FamilyRepository:
        """The families."""
        return self._inner.families

    @property
    def revocations(self) -> RevocationWriter:
        """The revocations."""
        return self._inner.revocations

    @property
    def one_time_tokens(self) -> OneTimeTokenRepository:
        """The one-time tokens."""
        return self._inner.one_time_tokens

    @property
    def outbox(self) -> Outbox:
        """The mails that it asks for."""
        return self._inner.outbox

    @property
    def audit(self) -> AuditTrail:
        """The audit trail."""
        return _WatchedTrail(self._inner.audit, self._noted)

    def idle(self, exchanges: int) -> None:
        """Stage exchanges that change nothing."""
        self._inner.idle(exchanges)

    async def commit(self) -> None:
        """Commit, then count."""
        await self._inner.commit()
        for event in self._noted:
            self._count(event)
        self._noted.clear()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc, traceback)


class CountingRotateRefresh(RotateRefresh):
    """The use-case, whose outcomes are counted: a rotation is too common to be audited."""

    def __init__(self, inner: RotateRefresh, count: Callable[[RefreshOutcome], None]) -> None:
        """Do what `inner` does, and tell `count`."""
        self._inner = inner
        self._count = count

    async def execute(self, command: RotateRefreshCommand) -> RotateRefreshResult:
        """Refresh, then count."""
        result = await self._inner.execute(command)
        self._count(result.outcome)
        return result


class CountingMailer(Mailer):
    """Another mailer, whose mails are counted by what became of them."""

    def __init__(self, inner: Mailer, count: Callable[[str], None]) -> None:
        """Send by `inner`, and tell `count`: `sent`, `refused` for good, or `unavailable`."""
        self._inner = inner
        self._count = count

    async def send(self, mail: Mail) -> None:
        """Send, and count."""
        try:
            await self._inner.send(mail)
        except MailRefused:
            self._count("refused")
            raise
        except MailUnavailable:
            self._count("unavailable")
            raise
        self._count("sent")


class _WatchedTrail(AuditTrail):
    def __init__(self, inner: AuditTrail, noted: list[AuditEvent]) -> None:
        self._inner = inner
        self._noted = noted

    def add(self, event: AuditEvent) -> None:
        self._inner.add(event)
        self._noted.append(event)

    async def list_page(
        self, which: AuditFilter, *, before: EventId | None, limit: int
    ) -> list[AuditEvent]:
        return await self._inner.list_page(which, before=before, limit=limit)
