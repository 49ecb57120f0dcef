"""Time is over for those who asked to be deleted."""

from keyturn.domain.errors import LastAdministrator, StaleUser
from keyturn.domain.events import Origin
from keyturn.domain.user import User
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.erasure import stage_erasure

BATCH = 100
"""Users that are looked up at once."""


class EraseDueUsers:
    """Erases every user whose deletion is due."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids

    async def execute(self) -> int:
        """Erase them, one by one, and return how many.

        Raises:
            StoreUnavailable: the store does not answer; who was erased until then is.
        """
        erased = 0
        while True:
            async with self._unit_of_work() as uow:
                due = await uow.users.list_due(self._clock.now(), BATCH)
            gone = sum([await self._erase(user) for user in due])
            erased += gone
            if len(due) < BATCH or gone == 0:
                return erased

    async def _erase(self, user: User) -> bool:
        async with self._unit_of_work() as uow:
            stage_erasure(
                uow,
                user,
                self._clock.now(),
                self._ids,
                actor=None,
                origin=Origin(),
            )
            try:
                await uow.commit()
            except (StaleUser, LastAdministrator):
                # Changed meanwhile, or nobody else is left: looked at again the next time.
                return False
        return True
