"""What every `RevocationList` and the unit of work that writes to it must do, as tests.

Subclass it and give three fixtures:

```python
class TestMyRevocations(RevocationContract):
    @pytest.fixture
    def unit_of_work(self, my_empty_store: MyStore) -> RevokingUnitOfWorkFactory:
        return lambda on_revoked: MyUnitOfWork(my_empty_store, on_revoked)

    @pytest.fixture
    def revocations(self, my_empty_store: MyStore) -> RevocationList:
        return MyRevocationList(my_empty_store)

    @pytest.fixture
    def deployment(self, my_empty_store: MyStore) -> DeploymentRecord:
        return MyDeploymentRecord(my_empty_store)
```
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from keyturn.domain.errors import KeyturnError, LastAdministrator, StaleFamily, StaleUser
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.policies import MAX_CLOCK_SKEW
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.revocation import Revocation
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE
from keyturn.ports.deployment import DeploymentRecord
from keyturn.ports.persistence import RevocationCallback, UnitOfWork
from keyturn.ports.revocations import RevocationList
from keyturn.testing.builders import make_family, make_revocation, make_user, rotate
from keyturn.testing.extra import pytest
from keyturn.testing.steps import HOUR, NOW, RACERS, TICK, stage_revocation

RevokingUnitOfWorkFactory = Callable[[RevocationCallback], UnitOfWork]
"""Makes a unit of work that tells the callback what it has revoked."""


class RevocationContract:
    """The contract of `RevocationList`, `RevocationWriter`, `DeploymentRecord` and the callback."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> RevokingUnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

    @pytest.fixture
    def revocations(self) -> RevocationList:
        """Return the list of that store."""
        raise NotImplementedError

    @pytest.fixture
    def deployment(self) -> DeploymentRecord:
        """Return the record of that store."""
        raise NotImplementedError

    @pytest.fixture
    def told(self) -> list[Revocation]:
        """Return what the callback was told, in order."""
        return []

    # The list

    async def test_an_empty_list_has_a_cursor(self, revocations: RevocationList) -> None:
        """From which everything that comes is read."""
        page = await revocations.read(None)
        assert page.revocations == ()
        assert (await revocations.read(page.cursor)).revocations == ()

    @pytest.mark.parametrize(
        "cursor",
        ["", "x", "-1", "1/", "/", "1/2/3", "\u0661", "1e3", "9" * 18, "9" * 5000, "9/9", "\ud800"],
    )
    async def test_a_cursor_of_another_list_is_none(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        told: list[Revocation],
        cursor: str,
    ) -> None:
        """Nothing is skipped for it, and the next cursor is a good one."""
        first, second = make_revocation(1), make_revocation(2)
        await _commit(unit_of_work, told, first)
        page = await revocations.read(cursor)
        assert page.revocations == (first,)
        await _commit(unit_of_work, told, second)
        assert second in (await revocations.read(page.cursor)).revocations

    @pytest.mark.parametrize(
        "revocation",
        [
            Revocation.of_token(TokenId(UUID(int=1)), NOW),
            Revocation.of_token(TokenId(UUID(int=2**128 - 1)), NOW + timedelta(days=3650)),
            Revocation.of_token(TokenId(UUID(int=3)), NOW + TICK),
        ],
    )
    async def test_the_entry_of_a_token_comes_back_as_it_was_added(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        told: list[Revocation],
        revocation: Revocation,
    ) -> None:
        """From the list and to the callback, every field."""
        await _commit(unit_of_work, told, revocation)
        [entry] = set((await revocations.read(None)).revocations)
        assert entry == revocation
        assert entry.expires_at.utcoffset() == timedelta(0)
        assert told == [revocation]

    async def test_the_next_look_brings_what_was_added_since(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        told: list[Revocation],
    ) -> None:
        """Whatever cursor one holds, and everything if one holds none."""
        entries = [make_revocation(number) for number in range(1, 6)]
        cursors = [(await revocations.read(None)).cursor]
        for entry in entries:
            await _commit(unit_of_work, told, entry)
            page = await revocations.read(cursors[-1])
            assert entry in page.revocations
            cursors.append(page.cursor)
        for number, cursor in enumerate(cursors):
            assert set(entries[number:]) <= set((await revocations.read(cursor)).revocations)
        assert set((await revocations.read(None)).revocations) == set(entries)

    async def test_a_list_on_which_nothing_happens_tells_nothing_again(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        told: list[Revocation],
    ) -> None:
        """Once it was read from a cursor of after the commit; a look costs next to nothing."""
        await _commit(unit_of_work, told, make_revocation())
        page = await revocations.read(None)
        for _ in range(3):
            page = await revocations.read(page.cursor)
        assert page.revocations == ()

    async def test_the_same_entry_twice_is_no_error(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        told: list[Revocation],
    ) -> None:
        """In one commit, and in another."""
        entry = make_revocation()
        await _commit(unit_of_work, told, entry, entry)
        await _commit(unit_of_work, told, entry)
        assert set((await revocations.read(None)).revocations) == {entry}

    async def test_of_concurrent_commits_none_is_skipped(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        told: list[Revocation],
    ) -> None:
        """Each entry is in the first look after its commit, and one who follows sees them all."""
        seen: set[Revocation] = set()
        committed: set[Revocation] = set()
        done = False

        async def write(number: int) -> None:
            entry = make_revocation(number)
            await _commit(unit_of_work, told, entry)
            committed.add(entry)

        async def follow() -> None:
            cursor: str | None = None
            while True:
                last_look, expected = done, set(committed)
                page = await revocations.read(cursor)
                cursor = page.cursor
                seen.update(page.revocations)
                assert expected <= seen
                if last_look:
                    return

        async def write_all() -> None:
            nonlocal done
            await asyncio.gather(*(write(number) for number in range(RACERS)))
            done = True

        await asyncio.gather(write_all(), follow(), follow())
        assert seen == committed == set(told)

    # Written with the change

    async def test_an_entry_is_there_with_the_change_that_causes_it(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        told: list[Revocation],
    ) -> None:
        """Neither the list nor the callback knows of it before the commit."""
        user = make_user()
        family = make_family(user)
        entry = make_revocation()
        async with unit_of_work(told.extend) as uow:
            uow.users.add(user)
            uow.families.add(family)
            await uow.commit()
        async with unit_of_work(told.extend) as uow:
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
            stage_revocation(uow, entry)
            assert (await revocations.read(None)).revocations == ()
            assert told == []
            await uow.commit()
            assert told == [entry]
            assert set((await revocations.read(None)).revocations) == {entry}
            stored = await uow.families.get(family.id)
        assert stored is not None
        assert stored.revoked_at == NOW
        assert told == [entry]

    async def test_an_entry_goes_with_a_change_that_fails(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        told: list[Revocation],
    ) -> None:
        """Whatever fails, and wherever it was staged; nor does giving up leave anything."""
        user = make_user()
        entry = make_revocation()

        def stale_user(uow: UnitOfWork) -> None:
            uow.users.save(user.logged_out_elsewhere())

        def stale_family(uow: UnitOfWork) -> None:
            uow.families.save(rotate(make_family(user)))

        def last_administrator(uow: UnitOfWork) -> None:
            uow.users.require_holder(ADMIN_ROLE.name)

        failures: list[tuple[type[KeyturnError], Callable[[UnitOfWork], None]]] = [
            (StaleUser, stale_user),
            (StaleFamily, stale_family),
            (LastAdministrator, last_administrator),
        ]
        for error, fail in failures:
            async with unit_of_work(told.extend) as uow:
                stage_revocation(uow, entry)
                fail(uow)
                stage_revocation(uow, entry)
                with pytest.raises(error):
                    await uow.commit()
        async with unit_of_work(told.extend) as uow:
            stage_revocation(uow, entry)
        assert told == []
        assert (await revocations.read(None)).revocations == ()

    async def test_the_callback_is_told_once_for_each_commit(
        self, unit_of_work: RevokingUnitOfWorkFactory, revocations: RevocationList
    ) -> None:
        """Of all entries of the commit together, and not at all of a commit without any."""
        calls: list[Sequence[Revocation]] = []
        entries = [make_revocation(number) for number in range(3)]
        async with unit_of_work(calls.append) as uow:
            uow.users.add(make_user())
            await uow.commit()
        assert calls == []
        async with unit_of_work(calls.append) as uow:
            for entry in entries:
                stage_revocation(uow, entry)
            await uow.commit()
        assert [set(call) for call in calls] == [set(entries)]
        assert set((await revocations.read(None)).revocations) == set(entries)

    # How long an entry lives

    async def test_the_entry_of_a_token_outlives_the_token_by_the_clock_skew(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        deployment: DeploymentRecord,
        told: list[Revocation],
    ) -> None:
        """Whatever lifetime is recorded."""
        token_id = TokenId(UUID(int=1))
        await deployment.record_access_ttl(5 * HOUR)
        async with unit_of_work(told.extend) as uow:
            uow.revocations.add_token(token_id, NOW)
            await uow.commit()
        expected = Revocation.of_token(token_id, NOW + MAX_CLOCK_SKEW)
        assert told == [expected]
        assert set((await revocations.read(None)).revocations) == {expected}

    async def test_an_entry_outlives_the_longest_lived_token_that_may_exist(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        deployment: DeploymentRecord,
        told: list[Revocation],
    ) -> None:
        """A process that records a shorter lifetime shortens nothing."""
        session, user = FamilyId(UUID(int=2**128 - 1)), UserId(UUID(int=3))
        await deployment.record_access_ttl(2 * HOUR)
        await deployment.record_access_ttl(timedelta(minutes=1))
        await deployment.record_access_ttl(2 * HOUR)
        async with unit_of_work(told.extend) as uow:
            uow.revocations.add_session(session, NOW)
            uow.revocations.add_user(user, 2**31 - 1, NOW)
            await uow.commit()
        expires_at = NOW + 2 * HOUR + MAX_CLOCK_SKEW
        expected = {
            Revocation.of_session(session, expires_at),
            Revocation.of_user(user, 2**31 - 1, expires_at),
        }
        assert set(told) == expected
        page = await revocations.read(None)
        assert set(page.revocations) == expected
        assert {entry.expires_at.utcoffset() for entry in page.revocations} == {timedelta(0)}

    async def test_an_entry_is_alone_in_its_commit_or_not(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        deployment: DeploymentRecord,
        told: list[Revocation],
    ) -> None:
        """It expires at the same moment."""
        session = FamilyId(UUID(int=1))
        await deployment.record_access_ttl(2 * HOUR)
        for also in (False, True):
            async with unit_of_work(told.extend) as uow:
                uow.revocations.add_session(session, NOW)
                if also:
                    uow.users.add(make_user())
                await uow.commit()
        expected = Revocation.of_session(session, NOW + 2 * HOUR + MAX_CLOCK_SKEW)
        assert told == [expected, expected]
        assert set((await revocations.read(None)).revocations) == {expected}

    async def test_a_part_of_a_second_is_rounded_up(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        deployment: DeploymentRecord,
        told: list[Revocation],
    ) -> None:
        """A token never outlives the entry by a part of a second."""
        await deployment.record_access_ttl(2 * HOUR + TICK)
        async with unit_of_work(told.extend) as uow:
            uow.revocations.add_session(FamilyId(UUID(int=1)), NOW)
            await uow.commit()
        expires_at = NOW + 2 * HOUR + timedelta(seconds=1) + MAX_CLOCK_SKEW
        assert [entry.expires_at for entry in told] == [expires_at]

    async def test_no_token_outlives_a_revocation_that_races_a_longer_lifetime(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        deployment: DeploymentRecord,
        told: list[Revocation],
    ) -> None:
        """Who has recorded a lifetime either finds the session revoked, or the entry knows it."""
        user = make_user()
        families = [make_family(user, number) for number in range(5)]
        async with unit_of_work(told.extend) as uow:
            uow.users.add(user)
            for family in families:
                uow.families.add(family)
            await uow.commit()
        issued: dict[FamilyId, list[datetime]] = {family.id: [] for family in families}

        async def issue(family_id: FamilyId, lifetime: timedelta, start: asyncio.Barrier) -> None:
            async with unit_of_work(told.extend) as uow:
                await uow.families.get(family_id)
                await start.wait()
                await deployment.record_access_ttl(lifetime)
                family = await uow.families.get(family_id)
            if family is not None and family.revoked_at is None:
                issued[family_id].append(NOW + lifetime)

        async def revoke(family_id: FamilyId, start: asyncio.Barrier) -> None:
            async with unit_of_work(told.extend) as uow:
                await uow.families.get(family_id)
                await start.wait()
                uow.families.revoke(family_id, NOW, RevokeReason.LOGOUT)
                uow.revocations.add_session(family_id, NOW)
                await uow.commit()

        for turn, family in enumerate(families):
            start = asyncio.Barrier(RACERS // 2 + 1)
            lifetimes = [(1 + turn * RACERS + number) * HOUR for number in range(RACERS // 2)]
            await asyncio.gather(
                revoke(family.id, start),
                *(issue(family.id, lifetime, start) for lifetime in lifetimes),
            )
        lives = {entry.subject: entry.expires_at for entry in told}
        for family_id, ends in issued.items():
            assert all(end < lives[family_id] for end in ends)

    # The record of the feed

    async def test_the_record_of_the_feed_is_the_last_one(
        self, deployment: DeploymentRecord
    ) -> None:
        """There is none before; None clears it."""
        assert await deployment.get_feed() is None
        await deployment.record_feed("one")
        await deployment.record_feed("other")
        assert await deployment.get_feed() == "other"
        await deployment.record_feed(None)
        assert await deployment.get_feed() is None

    async def test_the_feed_and_the_lifetime_do_not_touch_each_other(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        deployment: DeploymentRecord,
        told: list[Revocation],
    ) -> None:
        """Nor does a commit touch the record."""
        await deployment.record_access_ttl(2 * HOUR)
        await deployment.record_feed("one")
        await deployment.record_access_ttl(3 * HOUR)
        async with unit_of_work(told.extend) as uow:
            uow.revocations.add_session(FamilyId(UUID(int=1)), NOW)
            await uow.commit()
        assert await deployment.get_feed() == "one"
        assert [entry.expires_at for entry in told] == [NOW + 3 * HOUR + MAX_CLOCK_SKEW]

    # Everybody who holds a role

    async def test_raising_the_epochs_of_a_role_revokes_each_holder(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        deployment: DeploymentRecord,
        told: list[Revocation],
    ) -> None:
        """Up to the new epoch of each, and nobody else; the process knows at once."""
        users = [make_user(number, roles=frozenset({USER_ROLE, ADMIN_ROLE})) for number in (1, 2)]
        users[1] = users[1].logged_out_everywhere(NOW)
        await deployment.record_access_ttl(HOUR)
        async with unit_of_work(told.extend) as uow:
            for user in (*users, make_user(3)):
                uow.users.add(user)
            await uow.commit()
        async with unit_of_work(told.extend) as uow:
            uow.users.raise_epochs(ADMIN_ROLE.name, NOW)
            await uow.commit()
        expected = {
            Revocation.of_user(users[0].id, 1, NOW + HOUR + MAX_CLOCK_SKEW),
            Revocation.of_user(users[1].id, 2, NOW + HOUR + MAX_CLOCK_SKEW),
        }
        assert set(told) == expected
        assert len(told) == 2
        assert set((await revocations.read(None)).revocations) == expected

    async def test_raising_the_epochs_of_nobody_revokes_nothing(
        self,
        unit_of_work: RevokingUnitOfWorkFactory,
        revocations: RevocationList,
        told: list[Revocation],
    ) -> None:
        """Of a role that nobody holds, that does not exist, or in a commit that fails."""
        async with unit_of_work(told.extend) as uow:
            uow.users.add(make_user())
            await uow.commit()
        for role in (ADMIN_ROLE.name, "ghost"):
            async with unit_of_work(told.extend) as uow:
                uow.users.raise_epochs(role, NOW)
                await uow.commit()
        async with unit_of_work(told.extend) as uow:
            uow.users.raise_epochs(USER_ROLE.name, NOW)
            uow.users.require_holder(ADMIN_ROLE.name)
            with pytest.raises(LastAdministrator):
                await uow.commit()
        assert told == []
        assert (await revocations.read(None)).revocations == ()


async def _commit(
    unit_of_work: RevokingUnitOfWorkFactory, told: list[Revocation], *entries: Revocation
) -> None:
    async with unit_of_work(told.extend) as uow:
        for entry in entries:
            stage_revocation(uow, entry)
        await uow.commit()
