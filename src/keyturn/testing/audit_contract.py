"""What every audit trail must do, as tests.

Used like `keyturn.testing.persistence_contract`, with the same fixture.
"""

from collections.abc import Callable
from uuid import UUID

from keyturn.domain.errors import StaleUser
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import EventId, FamilyId, UserId
from keyturn.ports.persistence import AuditFilter, UnitOfWork, UnitOfWorkFactory
from keyturn.testing.builders import make_event, make_user
from keyturn.testing.extra import pytest
from keyturn.testing.steps import HOUR, NOW, ROGUE, commit

ADA = UserId(UUID(int=1))
EVE = UserId(UUID(int=2))
SESSION = FamilyId(UUID(int=3))


class AuditTrailContract:
    """The contract of `AuditTrail`."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

    @pytest.mark.parametrize(
        "event",
        [
            pytest.param(make_event(at=NOW), id="plain"),
            pytest.param(
                make_event(
                    type=AuditEventType.ROLES_CHANGED,
                    actor=ADA,
                    subject=EVE,
                    session=SESSION,
                    origin=Origin("::1", ROGUE, "request-1", "client-1"),
                    details={"from": "", "to": ROGUE},
                ),
                id="with everything",
            ),
            pytest.param(make_event(origin=Origin("", "", "", "")), id="with empty texts"),
        ],
    )
    async def test_an_event_comes_back_as_it_was_added(
        self, unit_of_work: UnitOfWorkFactory, event: AuditEvent
    ) -> None:
        """Every field; nobody whom it names needs to exist."""
        await _add(unit_of_work, event)
        [stored] = await _page(unit_of_work)
        assert stored == event
        assert stored.at.tzinfo is not None

    async def test_every_type_of_event_can_be_stored(self, unit_of_work: UnitOfWorkFactory) -> None:
        """And is found by it."""
        events = {
            kind: make_event(number, type=kind) for number, kind in enumerate(AuditEventType, 1)
        }
        await _add(unit_of_work, *events.values())
        for kind, event in events.items():
            assert await _page(unit_of_work, AuditFilter(type=kind)) == [event]

    async def test_events_are_written_with_the_change_or_not_at_all(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Invisible before the commit, gone with a change that fails or is given up."""
        user = make_user()
        event = make_event()
        async with unit_of_work() as uow:
            uow.audit.add(event)
        await _refuse(unit_of_work, lambda uow: uow.audit.add(event))
        async with unit_of_work() as uow:
            uow.users.add(user)
            uow.audit.add(event)
            assert await uow.audit.list_page(AuditFilter(), before=None, limit=9) == []
            await uow.commit()
            assert await uow.audit.list_page(AuditFilter(), before=None, limit=9) == [event]

    async def test_events_are_listed_page_by_page_latest_first(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """By their ids, whatever order they were written in and whatever time they tell."""
        events = [make_event(number, at=NOW - number * HOUR) for number in range(1, 8)]
        await _add(unit_of_work, *events[::2], *events[1::2])
        latest = events[::-1]
        assert await _page(unit_of_work, limit=3) == latest[:3]
        assert await _page(unit_of_work, before=latest[2].id, limit=3) == latest[3:6]
        assert await _page(unit_of_work, before=latest[5].id, limit=3) == latest[6:]
        assert await _page(unit_of_work, before=latest[6].id, limit=3) == []

    async def test_events_are_found_by_type_actor_and_subject(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Alone, together, and before the page is cut."""
        types = (AuditEventType.LOGIN_FAILED, AuditEventType.SESSION_REVOKED)
        people = (ADA, EVE, None)
        events = [
            make_event(n, type=types[n % 2], actor=people[n % 3], subject=people[n // 3 % 3])
            for n in range(18)
        ][::-1]
        await _add(unit_of_work, *events)
        for which in (
            AuditFilter(type=types[0]),
            AuditFilter(actor=ADA),
            AuditFilter(subject=EVE),
            AuditFilter(type=types[1], actor=EVE),
            AuditFilter(actor=EVE, subject=ADA),
            AuditFilter(type=types[0], actor=ADA, subject=ADA),
        ):
            found = [event for event in events if _is_meant(which, event)]
            assert found
            assert await _page(unit_of_work, which) == found
            assert await _page(unit_of_work, which, limit=1) == found[:1]
            assert await _page(unit_of_work, which, before=found[0].id) == found[1:]
        assert await _page(unit_of_work, AuditFilter(actor=UserId(UUID(int=9)))) == []


def _is_meant(which: AuditFilter, event: AuditEvent) -> bool:
    return (
        which.type in {None, event.type}
        and which.actor in {None, event.actor}
        and which.subject in {None, event.subject}
    )


async def _add(unit_of_work: UnitOfWorkFactory, *events: AuditEvent) -> None:
    def stage(uow: UnitOfWork) -> None:
        for event in events:
            uow.audit.add(event)

    await commit(unit_of_work, stage)


async def _refuse(unit_of_work: UnitOfWorkFactory, stage: Callable[[UnitOfWork], None]) -> None:
    async with unit_of_work() as uow:
        stage(uow)
        uow.users.save(make_user().logged_out_elsewhere())
        with pytest.raises(StaleUser):
            await uow.commit()


async def _page(
    unit_of_work: UnitOfWorkFactory,
    which: AuditFilter | None = None,
    *,
    before: EventId | None = None,
    limit: int = 100,
) -> list[AuditEvent]:
    async with unit_of_work() as uow:
        return await uow.audit.list_page(which or AuditFilter(), before=before, limit=limit)
