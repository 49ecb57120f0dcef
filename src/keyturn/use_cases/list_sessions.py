"""Somebody looks at where they are logged in."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.refresh_token_family import (
    Device,
    EndReason,
    RefreshTokenFamily,
    RevokeReason,
)
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock

RECENTLY_ENDED = timedelta(days=30)
"""How far back ended sessions are shown."""


@dataclass(frozen=True, slots=True)
class ListSessionsQuery:
    """Whose sessions, seen from which one."""

    user_id: UserId
    current: FamilyId | None = None
    with_ended: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its user sees it; `ended_at` and `reason` are None while it is live."""

    id: FamilyId
    device: Device
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool
    ended_at: datetime | None
    reason: RevokeReason | EndReason | None


class ListSessions:
    """Lists a user's sessions."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def execute(self, query: ListSessionsQuery) -> list[Session]:
        """Return the live sessions, last used first, then those that ended recently, if asked for.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            families = await uow.families.list_live(query.user_id, now)
            if query.with_ended:
                families += await uow.families.list_ended(query.user_id, now, now - RECENTLY_ENDED)
        return [_session(family, query.current, now) for family in families]


def _session(family: RefreshTokenFamily, current: FamilyId | None, now: datetime) -> Session:
    return Session(
        id=family.id,
        device=family.device,
        created_at=family.created_at,
        last_used_at=family.rotated_at,
        expires_at=family.expires_at,
        current=family.id == current,
        ended_at=family.ended_at(now),
        reason=family.end_reason(now),
    )
