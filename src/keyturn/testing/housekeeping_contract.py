"""What every `Housekeeping` must do, as tests.

Subclass it and give four fixtures on one empty store: `unit_of_work`, `revocations` and
`mail_queue` as in the other kits, and `housekeeping`.
"""

import asyncio
from datetime import timedelta

from keyturn.domain.refresh_token_family import RefreshTokenFamily, RevokeReason
from keyturn.domain.revocation import Revocation
from keyturn.ports.mail import MailQueue
from keyturn.ports.persistence import (
    AuditFilter,
    Housekeeping,
    Purged,
    UnitOfWork,
    UnitOfWorkFactory,
)
from keyturn.ports.revocations import RevocationList
from keyturn.testing.builders import (
    make_event,
    make_family,
    make_mail,
    make_one_time_token,
    make_revocation,
    make_user,
)
from keyturn.testing.extra import pytest
from keyturn.testing.steps import HOUR, NOW, RACERS, TICK, commit, stage_revocation

TASK = "purge"


class HousekeepingContract:
    """The contract of `Housekeeping`."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

    @pytest.fixture
    def revocations(self) -> RevocationList:
        """Return the list of that store."""
        raise NotImplementedError

    @pytest.fixture
    def mail_queue(self) -> MailQueue:
        """Return the queue of that store."""
        raise NotImplementedError

    @pytest.fixture
    def housekeeping(self) -> Housekeeping:
        """Return what clears up that store."""
        raise NotImplementedError

    # Purging

    async def test_families_go_by_their_absolute_expiry(
        self, unit_of_work: UnitOfWorkFactory, housekeeping: Housekeeping
    ) -> None:
        """Live, revoked or idle for long makes no difference, and that very moment stays."""
        user = make_user()
        before, at, after = (
            make_family(user, number, started_at=NOW + (number - 2) * TICK)
            for number in range(1, 4)
        )

        def stage(uow: UnitOfWork) -> None:
            uow.users.add(user)
            for family in (after, at, before):
                uow.families.add(family)
                uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)

        await commit(unit_of_work, stage)
        purged = await housekeeping.purge(
            ended_before=at.absolute_expires_at, now=NOW, events_before=NOW, batch=10
        )
        assert purged == Purged(families=1)
        assert await _stored(unit_of_work, before, at, after) == [at, after]
        async with unit_of_work() as uow:
            assert await uow.users.get(user.id) == user

    async def test_revocations_go_when_they_expire(
        self,
        unit_of_work: UnitOfWorkFactory,
        housekeeping: Housekeeping,
        revocations: RevocationList,
    ) -> None:
        """At that very moment, and never before."""
        expired, expiring, good = (
            make_revocation(number, expires_at=NOW + (number - 2) * TICK) for number in range(1, 4)
        )

        def stage(uow: UnitOfWork) -> None:
            for entry in (good, expiring, expired):
                stage_revocation(uow, entry)

        await commit(unit_of_work, stage)
        purged = await housekeeping.purge(ended_before=NOW, now=NOW, events_before=NOW, batch=10)
        assert purged == Purged(revocations=2)
        assert set((await revocations.read(None)).revocations) == {good}

    async def test_what_comes_after_a_purge_is_not_skipped(
        self,
        unit_of_work: UnitOfWorkFactory,
        housekeeping: Housekeeping,
        revocations: RevocationList,
    ) -> None:
        """Also when the purge left the list empty."""
        await _revoke(unit_of_work, make_revocation(1, expires_at=NOW))
        cursor = (await revocations.read(None)).cursor
        await housekeeping.purge(ended_before=NOW, now=NOW, events_before=NOW, batch=10)
        newer = make_revocation(2)
        await _revoke(unit_of_work, newer)
        assert set((await revocations.read(cursor)).revocations) == {newer}
        assert set((await revocations.read(None)).revocations) == {newer}

    async def test_audit_events_go_by_when_they_happened(
        self, unit_of_work: UnitOfWorkFactory, housekeeping: Housekeeping
    ) -> None:
        """Not by their ids, and that very moment stays."""
        before, at, after = (
            make_event(4 - number, at=NOW + (number - 2) * TICK) for number in range(1, 4)
        )

        def stage(uow: UnitOfWork) -> None:
            for event in (after, at, before):
                uow.audit.add(event)

        await commit(unit_of_work, stage)
        purged = await housekeeping.purge(ended_before=NOW, now=NOW, events_before=NOW, batch=10)
        assert purged == Purged(audit_events=1)
        async with unit_of_work() as uow:
            page = await uow.audit.list_page(AuditFilter(), before=None, limit=10)
        assert page == [at, after]

    async def test_one_time_tokens_go_when_they_expire(
        self, unit_of_work: UnitOfWorkFactory, housekeeping: Housekeeping
    ) -> None:
        """At that very moment, and never before."""
        user = make_user()
        tokens = [
            make_one_time_token(user, number, expires_at=NOW + (number - 2) * TICK)
            for number in range(1, 4)
        ]

        def stage(uow: UnitOfWork) -> None:
            uow.users.add(user)
            for token in tokens:
                uow.one_time_tokens.add(token)

        await commit(unit_of_work, stage)
        purged = await housekeeping.purge(ended_before=NOW, now=NOW, events_before=NOW, batch=10)
        assert purged == Purged(one_time_tokens=2)
        async with unit_of_work() as uow:
            left = [await uow.one_time_tokens.get(token.digest) for token in tokens]
            assert await uow.users.get(user.id) == user
        assert left == [None, None, tokens[2]]

    async def test_mails_go_by_when_they_died(
        self, unit_of_work: UnitOfWorkFactory, housekeeping: Housekeeping, mail_queue: MailQueue
    ) -> None:
        """That very moment stays, and what still waits, however old it is."""
        before, at, after = (
            make_mail(number, dead_at=NOW + (number - 2) * TICK) for number in range(1, 4)
        )
        waiting = make_mail(4, next_attempt_at=NOW - HOUR)

        def stage(uow: UnitOfWork) -> None:
            for mail in (waiting, after, at, before):
                uow.outbox.add(mail)

        await commit(unit_of_work, stage)
        late = NOW + HOUR
        purged = await housekeeping.purge(ended_before=late, now=late, events_before=NOW, batch=10)
        assert purged == Purged(mails=1)
        page = await mail_queue.list_page(only_dead=False, after=None, limit=10)
        assert list(page) == [at, after, waiting]

    async def test_a_purge_removes_no_more_than_a_batch_of_each_kind(
        self, unit_of_work: UnitOfWorkFactory, housekeeping: Housekeeping
    ) -> None:
        """Again and again, until nothing is left to remove."""
        user = make_user()

        def stage(uow: UnitOfWork) -> None:
            uow.users.add(user)
            for number in range(7):
                uow.families.add(make_family(user, number))
            for number in range(5):
                stage_revocation(uow, make_revocation(number))
            for number in range(4):
                uow.audit.add(make_event(number))
                uow.one_time_tokens.add(make_one_time_token(user, number))
                uow.outbox.add(make_mail(number, dead_at=NOW))

        await commit(unit_of_work, stage)
        late = NOW + timedelta(days=365)
        purged = [
            await housekeeping.purge(ended_before=late, now=late, events_before=late, batch=3)
            for _ in range(4)
        ]
        assert purged == [
            Purged(3, 3, 3, 3, 3),
            Purged(3, 2, 1, 1, 1),
            Purged(families=1),
            Purged(),
        ]

    async def test_purges_at_the_same_time_remove_each_record_once(
        self, unit_of_work: UnitOfWorkFactory, housekeeping: Housekeeping
    ) -> None:
        """None waits for another for ever, and none counts what another removed."""

        def stage(uow: UnitOfWork) -> None:
            for number in range(40):
                uow.audit.add(make_event(number))

        await commit(unit_of_work, stage)
        purged = await asyncio.gather(
            *(
                housekeeping.purge(ended_before=NOW, now=NOW, events_before=NOW + HOUR, batch=10)
                for _ in range(8)
            )
        )
        last = await housekeeping.purge(
            ended_before=NOW, now=NOW, events_before=NOW + HOUR, batch=100
        )
        assert sum(p.audit_events for p in (*purged, last)) == 40

    # Who does it

    async def test_one_holder_leads_a_task_at_a_time(self, housekeeping: Housekeeping) -> None:
        """Until its time is over, that very moment included."""
        until = NOW + HOUR
        assert await housekeeping.lead(TASK, "a", NOW, until)
        assert not await housekeeping.lead(TASK, "b", NOW, until + HOUR)
        assert not await housekeeping.lead(TASK, "b", until - TICK, until + HOUR)
        assert await housekeeping.lead(TASK, "b", until, until + HOUR)
        assert not await housekeeping.lead(TASK, "a", until, until + HOUR)

    async def test_who_leads_may_extend_its_time(self, housekeeping: Housekeeping) -> None:
        """And may cut it short."""
        assert await housekeeping.lead(TASK, "a", NOW, NOW + HOUR)
        assert await housekeeping.lead(TASK, "a", NOW, NOW + 2 * HOUR)
        assert not await housekeeping.lead(TASK, "b", NOW + HOUR, NOW + 3 * HOUR)
        assert await housekeeping.lead(TASK, "a", NOW, NOW + TICK)
        assert await housekeeping.lead(TASK, "b", NOW + TICK, NOW + HOUR)

    async def test_each_task_has_a_leader_of_its_own(self, housekeeping: Housekeeping) -> None:
        """Leading one says nothing about another."""
        assert await housekeeping.lead(TASK, "a", NOW, NOW + HOUR)
        assert await housekeeping.lead("something else", "b", NOW, NOW + HOUR)

    @pytest.mark.parametrize("vacant", [True, False])
    async def test_of_concurrent_holders_one_leads(
        self, housekeeping: Housekeeping, vacant: bool
    ) -> None:
        """Whether nobody led before, or somebody's time is over."""
        if not vacant:
            assert await housekeeping.lead(TASK, "former", NOW - HOUR, NOW)
        outcomes = await asyncio.gather(
            *(housekeeping.lead(TASK, str(number), NOW, NOW + HOUR) for number in range(RACERS))
        )
        assert outcomes.count(True) == 1
        assert outcomes.count(False) == RACERS - 1


async def _revoke(unit_of_work: UnitOfWorkFactory, entry: Revocation) -> None:
    await commit(unit_of_work, lambda uow: stage_revocation(uow, entry))


async def _stored(
    unit_of_work: UnitOfWorkFactory, *families: RefreshTokenFamily
) -> list[RefreshTokenFamily]:
    async with unit_of_work() as uow:
        found = [await uow.families.get(family.id) for family in families]
    ids = {family.id for family in found if family is not None}
    return [family for family in families if family.id in ids]
