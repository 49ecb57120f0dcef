"""What every `UnitOfWork` must do, as tests.

Subclass it and give one fixture:

```python
class TestMyUnitOfWork(UnitOfWorkContract):
    @pytest.fixture
    def unit_of_work(self, my_empty_store: MyStore) -> UnitOfWorkFactory:
        return lambda: MyUnitOfWork(my_empty_store)
```

The tests are coroutines: they need pytest-asyncio, in either of its modes. Say
`pytest.register_assert_rewrite("keyturn.testing")` in `conftest.py`, and a failure shows values.
"""

from keyturn.testing.families_contract import FamiliesContract
from keyturn.testing.staging_contract import StagingContract
from keyturn.testing.users_contract import UsersContract


class UnitOfWorkContract(StagingContract, UsersContract, FamiliesContract):
    """The contract of `UnitOfWork` and its repositories of users and sessions."""
