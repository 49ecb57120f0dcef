"""The contract kits on both databases."""

import pytest

from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.deployment import SqlDeploymentRecord
from keyturn.adapters.sqlalchemy.housekeeping import SqlHousekeeping
from keyturn.adapters.sqlalchemy.mails import SqlMailQueue
from keyturn.adapters.sqlalchemy.revocations import SqlRevocationList
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
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


class TestSqlUnitOfWork(UnitOfWorkContract):
    @pytest.fixture
    def unit_of_work(self, database: Database) -> UnitOfWorkFactory:
        return lambda: SqlUnitOfWork(database)


class TestSqlAdministration(AdministrationContract):
    @pytest.fixture
    def unit_of_work(self, database: Database) -> UnitOfWorkFactory:
        return lambda: SqlUnitOfWork(database)


class TestSqlAuditTrail(AuditTrailContract):
    @pytest.fixture
    def unit_of_work(self, database: Database) -> UnitOfWorkFactory:
        return lambda: SqlUnitOfWork(database)


class TestSqlRevocations(RevocationContract):
    @pytest.fixture
    def unit_of_work(self, database: Database) -> RevokingUnitOfWorkFactory:
        return lambda on_revoked: SqlUnitOfWork(database, on_revoked)

    @pytest.fixture
    def revocations(self, database: Database) -> RevocationList:
        return SqlRevocationList(database)

    @pytest.fixture
    def deployment(self, database: Database) -> DeploymentRecord:
        return SqlDeploymentRecord(database)


class TestSqlHousekeeping(HousekeepingContract):
    @pytest.fixture
    def unit_of_work(self, database: Database) -> UnitOfWorkFactory:
        return lambda: SqlUnitOfWork(database)

    @pytest.fixture
    def revocations(self, database: Database) -> RevocationList:
        return SqlRevocationList(database)

    @pytest.fixture
    def housekeeping(self, database: Database) -> Housekeeping:
        return SqlHousekeeping(database)

    @pytest.fixture
    def mail_queue(self, database: Database) -> MailQueue:
        return SqlMailQueue(database)


class TestSqlAccounts(AccountsContract):
    @pytest.fixture
    def unit_of_work(self, database: Database) -> UnitOfWorkFactory:
        return lambda: SqlUnitOfWork(database)

    @pytest.fixture
    def mail_queue(self, database: Database) -> MailQueue:
        return SqlMailQueue(database)


class TestSqlOneTimeTokens(OneTimeTokenContract):
    @pytest.fixture
    def unit_of_work(self, database: Database) -> UnitOfWorkFactory:
        return lambda: SqlUnitOfWork(database)


class TestSqlMailQueue(MailQueueContract):
    @pytest.fixture
    def unit_of_work(self, database: Database) -> UnitOfWorkFactory:
        return lambda: SqlUnitOfWork(database)

    @pytest.fixture
    def mail_queue(self, database: Database) -> MailQueue:
        return SqlMailQueue(database)
