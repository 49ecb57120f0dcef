"""What the contract kits do again and again."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta

from keyturn.domain.errors import KeyturnError
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.testing.doubles import START

NOW = START + timedelta(microseconds=123_457)
"""A moment that a store of milliseconds, or of binary fractions of a second, can't hold."""

TICK = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
RACERS = 20

ROGUE = "Zoë 🦊 'O\"Brien\\ --; 名前"
"""A text that breaks whoever escapes or encodes it wrongly."""

Stage = Callable[[UnitOfWork], None]


async def commit(unit_of_work: UnitOfWorkFactory, stage: Stage) -> None:
    """Commit what `stage` stages."""
    async with unit_of_work() as uow:
        stage(uow)
        await uow.commit()


async def race(loss: type[KeyturnError], rivals: list[Coroutine[object, object, None]]) -> int:
    """Run the rivals at once, and return which one won; every other one lost by `loss`."""
    outcomes = await asyncio.gather(*rivals, return_exceptions=True)
    winners = [number for number, outcome in enumerate(outcomes) if outcome is None]
    assert all(outcome is None or isinstance(outcome, loss) for outcome in outcomes), outcomes
    assert len(winners) == 1
    return winners[0]
