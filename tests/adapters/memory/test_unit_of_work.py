import pytest

from keyturn.adapters.memory.deployment import MemoryDeploymentRecord
from keyturn.adapters.memory.housekeeping import MemoryHousekeeping
from keyturn.adapters.memory.mails import MemoryMailQueue
from keyturn.adapters.memory.revocations import MemoryRevocationList
from keyturn.adapters.memory.store import MemoryStore
from keyturn.adapters.memory.unit_of_work import MemoryUnitOfWork
from keyturn.ports.deployment import DeploymentRecord
from keyturn.ports.mail import MailQueue
from keyturn.ports.persistence import Housekeeping, UnitOfWorkFactory
from keyturn.ports.revocations import RevocationList
from keyturn.testing.accounts_contract import AccountsContract
from keyturn.testing.administration_contract import AdministrationContract
from keyturn.testing.audit_contract import AuditTrailContract
from keyturn.testing.housekeeping_contract import HousekeepingContract
from keyturn.testing.mail_queue_contract import MailQueueContract
from keyturn.testing.one_time_token_contract import OneTimeTokenContract
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

    @pytest.fixture
    def deployment(self, store: MemoryStore) -> DeploymentRecord:
        return MemoryDeploymentRecord(store)


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

    @pytest.fixture
    def mail_queue(self, store: MemoryStore) -> MailQueue:
        return MemoryMailQueue(store)


class TestMemoryAccounts(AccountsContract):
    @pytest.fixture
    def unit_of_work(self, store: MemoryStore) -> UnitOfWorkFactory:
        return lambda: MemoryUnitOfWork(store)

    @pytest.fixture
    def mail_queue(self, store: MemoryStore) -> MailQueue:
        return MemoryMailQueue(store)


class TestMemoryOneTimeTokens(OneTimeTokenContract):
    @pytest.fixture
    def unit_of_work(self, store: MemoryStore) -> UnitOfWorkFactory:
        return lambda: MemoryUnitOfWork(store)


class TestMemoryMailQueue(MailQueueContract):
    @pytest.fixture
    def unit_of_work(self, store: MemoryStore) -> UnitOfWorkFactory:
        return lambda: MemoryUnitOfWork(store)

    @pytest.fixture
    def mail_queue(self, store: MemoryStore) -> MailQueue:
        return MemoryMailQueue(store)
