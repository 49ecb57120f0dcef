"""What every `UnitOfWork` must do for what becomes of an account, as tests.

Wrong passwords, another address, and the end of it all. Subclass it and give two fixtures on one
empty store: `unit_of_work` as in the other kits, and `mail_queue`.
"""

from keyturn.testing.erasure_contract import ErasureContract
from keyturn.testing.records_contract import RecordsContract


class AccountsContract(RecordsContract, ErasureContract):
    """The contract of what a user's record tells, and of how a user is erased."""
