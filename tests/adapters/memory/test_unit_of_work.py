import pytest

from keyturn.adapters.memory.store import MemoryStore
from keyturn.adapters.memory.unit_of_work import MemoryUnitOfWork
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.testing.persistence_contract import UnitOfWorkContract


class TestMemoryUnitOfWork(UnitOfWorkContract):
    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        store = MemoryStore()
        return lambda: MemoryUnitOfWork(store)
