"""Somebody ends one of their sessions, as a lost phone's."""

from dataclasses import dataclass

from keyturn.domain.errors import SessionNotFound
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock


@dataclass(frozen=True, slots=True)
class EndSessionCommand:
    """Whose session, and which."""

    user_id: UserId
    session_id: FamilyId


class EndSession:
    """Ends one session of a user, seen from the list of their devices."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def execute(self, command: EndSessionCommand) -> None:
        """End the session; one that has ended already is no error.

        Raises:
            SessionNotFound: there is none of this id, or it is another user's.
            StoreUnavailable: the store does not answer.
        """
        async with self._unit_of_work() as uow:
            family = await uow.families.get(command.session_id)
            if family is None or family.user_id != command.user_id:
                raise SessionNotFound
            uow.families.revoke(family.id, self._clock.now(), RevokeReason.REVOKED)
            await uow.commit()
