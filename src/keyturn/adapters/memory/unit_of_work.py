"""The persistence port in plain dictionaries, with the same guarantees as a database."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from keyturn.adapters.memory.audit_trail import MemoryAuditTrail
from keyturn.adapters.memory.families import MemoryFamilyRepository
from keyturn.adapters.memory.mails import MemoryOutbox
from keyturn.adapters.memory.one_time_tokens import MemoryOneTimeTokenRepository
from keyturn.adapters.memory.revocations import MemoryRevocationWriter
from keyturn.adapters.memory.store import MemoryStore, StagedWrite, give_way
from keyturn.adapters.memory.users import MemoryRoleRepository, MemoryUserRepository
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


def _nobody_asked(revocations: Sequence[Revocation]) -> None:
    """Take no notice: nobody in this process follows the list."""


class MemoryUnitOfWork(UnitOfWork):
    """One atomic change of a `MemoryStore`.

    Every read and every commit gives way to other tasks once, as a database would, so that a
    race between use-cases shows in memory too.
    """

    def __init__(self, store: MemoryStore, on_revoked: RevocationCallback = _nobody_asked) -> None:
        """Work on `store` and tell `on_revoked` what a commit has revoked."""
        self._store = store
        self._on_revoked = on_revoked
        self._staged: list[StagedWrite] = []
        # What must hold when all else is applied.
        self._checks: list[StagedWrite] = []

    @property
    def users(self) -> UserRepository:
        return MemoryUserRepository(self._store, self._staged, self._checks)

    @property
    def roles(self) -> RoleRepository:
        return MemoryRoleRepository(self._store, self._staged)

    @property
    def families(self) -> FamilyRepository:
        return MemoryFamilyRepository(self._store, self._staged)

    @property
    def revocations(self) -> RevocationWriter:
        return MemoryRevocationWriter(self._staged)

    @property
    def one_time_tokens(self) -> OneTimeTokenRepository:
        """The one-time tokens."""
        return MemoryOneTimeTokenRepository(self._store, self._staged)

    @property
    def outbox(self) -> Outbox:
        """The mails that this unit of work asks for."""
        return MemoryOutbox(self._staged)

    @property
    def audit(self) -> AuditTrail:
        return MemoryAuditTrail(self._store, self._staged)

    def idle(self, exchanges: int) -> None:
        """Stage nothing: there is no network to wait for."""

    async def commit(self) -> None:
        await give_way()
        # Applied to a copy without giving way: a write that fails leaves the store as it was.
        changed = self._store.copy()
        for apply in (*self._staged, *self._checks):
            apply(changed)
        began = self._store.last_position
        self._store.replace_by(changed)
        self._forget()
        revoked = [r for position, r in changed.revocations.items() if position > began]
        if revoked:
            self._on_revoked(revoked)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._forget()

    def _forget(self) -> None:
        self._staged.clear()
        self._checks.clear()
