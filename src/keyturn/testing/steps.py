"""What the contract kits do again and again."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from uuid import UUID

from keyturn.domain.errors import KeyturnError
from keyturn.domain.events import AuditEvent
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.mail import QueuedMail
from keyturn.domain.policies import MAX_CLOCK_SKEW
from keyturn.domain.refresh_token_family import RefreshTokenFamily, RevokeReason
from keyturn.domain.revocation import Revocation, RevocationKind
from keyturn.domain.user import User
from keyturn.ports.mail import MailQueue
from keyturn.ports.persistence import AuditFilter, UnitOfWork, UnitOfWorkFactory, UserFilter
from keyturn.testing.builders import make_family, make_user
from keyturn.testing.doubles import START

NOW = START + timedelta(microseconds=123_457)
"""A moment that a store of milliseconds, or of binary fractions of a second, can't hold."""

TICK = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
RACERS = 20

NOBODY = UserId(UUID(int=1))
"""The id of no user."""

ROGUE = "Zoë 🦊 'O\"Brien\\ --; 名前"
"""A text that breaks whoever escapes or encodes it wrongly."""

Stage = Callable[[UnitOfWork], None]


async def commit(unit_of_work: UnitOfWorkFactory, stage: Stage) -> None:
    """Commit what `stage` stages."""
    async with unit_of_work() as uow:
        stage(uow)
        await uow.commit()


def stage_revocation(uow: UnitOfWork, entry: Revocation) -> None:
    """Stage an entry of `make_revocation`, so that it is stored as it is.

    Raises:
        ValueError: it is an entry of a session or a user, whose expiry the store decides.
    """
    if entry.kind is not RevocationKind.TOKEN:
        raise ValueError("the store decides when an entry of a session or a user expires")
    uow.revocations.add_token(TokenId(entry.subject), entry.expires_at - MAX_CLOCK_SKEW)


async def race(loss: type[KeyturnError], rivals: list[Coroutine[object, object, None]]) -> int:
    """Run the rivals at once, and return which one won; every other one lost by `loss`."""
    outcomes = await asyncio.gather(*rivals, return_exceptions=True)
    winners = [number for number, outcome in enumerate(outcomes) if outcome is None]
    assert all(outcome is None or isinstance(outcome, loss) for outcome in outcomes), outcomes
    assert len(winners) == 1
    return winners[0]


async def add(unit_of_work: UnitOfWorkFactory, *added: User | RefreshTokenFamily) -> None:
    """Commit new users and families."""

    def stage(uow: UnitOfWork) -> None:
        for each in added:
            if isinstance(each, User):
                uow.users.add(each)
            else:
                uow.families.add(each)

    await commit(unit_of_work, stage)


async def save(unit_of_work: UnitOfWorkFactory, saved: User | RefreshTokenFamily) -> None:
    """Commit the next version of a user, or the next generation of a family."""
    if isinstance(saved, User):
        await commit(unit_of_work, lambda uow: uow.users.save(saved))
    else:
        await commit(unit_of_work, lambda uow: uow.families.save(saved))


async def revoke(
    unit_of_work: UnitOfWorkFactory, family_id: FamilyId, at: datetime, reason: RevokeReason
) -> None:
    """Commit the end of a family."""
    await commit(unit_of_work, lambda uow: uow.families.revoke(family_id, at, reason))


async def user_with_family(unit_of_work: UnitOfWorkFactory) -> tuple[User, RefreshTokenFamily]:
    """Commit a user with a session, and return both."""
    user = make_user()
    family = make_family(user, started_at=NOW)

    def stage(uow: UnitOfWork) -> None:
        uow.users.add(user)
        uow.families.add(family)

    await commit(unit_of_work, stage)
    return user, family


async def read_user(unit_of_work: UnitOfWorkFactory, user_id: UserId) -> User:
    """Return a user that is there."""
    async with unit_of_work() as uow:
        user = await uow.users.get(user_id)
    assert user is not None
    return user


async def list_users(
    unit_of_work: UnitOfWorkFactory,
    which: UserFilter | None = None,
    *,
    after: UserId | None = None,
    limit: int = 100,
) -> list[User]:
    """Return a page of users, lowest id first."""
    async with unit_of_work() as uow:
        return await uow.users.list_page(which or UserFilter(), after=after, limit=limit)


async def list_events(unit_of_work: UnitOfWorkFactory) -> list[AuditEvent]:
    """Return up to a hundred audit events, oldest first."""
    async with unit_of_work() as uow:
        return (await uow.audit.list_page(AuditFilter(), before=None, limit=100))[::-1]


async def list_mails(mail_queue: MailQueue) -> list[QueuedMail]:
    """Return up to a hundred mails that wait."""
    return list(await mail_queue.list_page(only_dead=False, after=None, limit=100))


async def read_family(unit_of_work: UnitOfWorkFactory, family_id: FamilyId) -> RefreshTokenFamily:
    """Return a family that is there."""
    async with unit_of_work() as uow:
        family = await uow.families.get(family_id)
    assert family is not None
    return family


async def read_pair(
    unit_of_work: UnitOfWorkFactory, family_id: FamilyId
) -> tuple[RefreshTokenFamily, User]:
    """Return a family that is there, and its user."""
    async with unit_of_work() as uow:
        pair = await uow.families.get_with_user(family_id)
    assert pair is not None
    return pair
