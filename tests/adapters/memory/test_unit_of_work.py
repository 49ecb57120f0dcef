import pytest

from keyturn.adapters.memory.housekeeping import MemoryHousekeeping
from keyturn.adapters.memory.revocations import MemoryRevocationList
from keyturn.adapters.memory.store import MemoryStore
from keyturn.adapters.memory.unit_of_work import MemoryUnitOfWork
from keyturn.ports.persistence import Housekeeping, UnitOfWorkFactory
from keyturn.ports.revocations import RevocationList
from keyturn.testing.administration_contract import AdministrationContract
from keyturn.testing.audit_contract import AuditTrailContract
from keyturn.testing.housekeeping_contract import HousekeepingContract
from keyturn.testing.persistence_contract import UnitOfWorkContract
from keyturn.testing.revocation_contract import RevocationContract, RevokingUnitOfWorkFactory


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


class TestMemoryUnitOfWork(UnitOfWorkContract):
    @pytest.fixture
    def unit_of_work(self, store: MemoryStore) -> UnitOfWorkFactory:
        return lambda: MemoryUnitOfWork(store)


class TestMemoryAdministration(AdministrationContract):
    @pytest.fixture
    def unit_of_work(self, store: MemoryStore) -> UnitOfWorkFactory:
        return lambda: MemoryUnitOfWork(store)


class TestMemoryAuditTrail(AuditTrailContract):
    @pytest.fixture
    def unit_of_work(self, store: MemoryStore) -> UnitOfWorkFactory:
        return lambda: MemoryUnitOfWork(store)


class TestMemoryRevocations(RevocationContract):
    @pytest.fixture
    def unit_of_work(self, store: MemoryStore) -> RevokingUnitOfWorkFactory:
        return lambda on_revoked: MemoryUnitOfWork(store, on_revoked)

    @pytest.fixture
    def revocations(self, store: MemoryStore) -> RevocationList:
        return MemoryRevocationList(store)


class TestMemoryHousekeeping(HousekeepingContract):
    @pytest.fixture
    def unit_of_work(self, store: MemoryStore) -> UnitOfWorkFactory:
        return lambda: MemoryUnitOfWork(store)

    @pytest.fixture
    def revocations(self, store: MemoryStore) -> RevocationList:
        return MemoryRevocationList(store)

    @pytest.fixture
    def housekeeping(self, store: MemoryStore) -> Housekeeping:
        return MemoryHousekeeping(store)
