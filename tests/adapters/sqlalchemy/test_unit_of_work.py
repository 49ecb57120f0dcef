import pytest

from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.testing.persistence_contract import UnitOfWorkContract


class TestSqlUnitOfWork(UnitOfWorkContract):
    @pytest.fixture
    def unit_of_work(self, database: Database) -> UnitOfWorkFactory:
        return lambda: SqlUnitOfWork(database)
