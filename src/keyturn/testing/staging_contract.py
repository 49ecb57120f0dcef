"""What every `UnitOfWork` must do about what is staged, as tests.

A part of `keyturn.testing.persistence_contract`, with the same fixture.
"""

import asyncio
from dataclasses import replace

from keyturn.domain.errors import EmailTaken, StaleFamily
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.user import ADMIN_ROLE
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.testing.builders import make_family, make_user, rotate
from keyturn.testing.extra import pytest
from keyturn.testing.steps import (
    NOW,
    RACERS,
    commit,
    read_family,
    read_pair,
    save,
    user_with_family,
)


class StagingContract:
    """The contract of staging, of commits and of what fails."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

    async def test_what_is_staged_is_invisible_before_the_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Neither this unit of work nor another sees it."""
        user, family = await user_with_family(unit_of_work)
        other_user = make_user(2)
        other_family = make_family(user, 2)
        async with unit_of_work() as uow:
            uow.users.add(other_user)
            uow.users.save(user.with_display_name("Ada", NOW))
            uow.families.add(other_family)
            uow.families.save(rotate(family))
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
            uow.families.revoke_all(user.id, NOW, RevokeReason.LOGOUT_ALL)
            async with unit_of_work() as observer:
                for reader in (uow, observer):
                    assert await reader.users.get(other_user.id) is None
                    assert await reader.users.get_by_email(other_user.email) is None
                    assert await reader.users.get(user.id) == user
                    assert await reader.families.get(other_family.id) is None
                    assert await reader.families.get_with_user(family.id) == (family, user)
                    assert await reader.families.list_live(user.id, NOW) == [family]

    async def test_what_is_committed_is_visible_to_all(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """To this unit of work, and to one that was opened, and has read, before."""
        user = make_user()
        async with unit_of_work() as observer:
            assert await observer.users.get(user.id) is None
            async with unit_of_work() as uow:
                uow.users.add(user)
                await uow.commit()
                assert await uow.users.get(user.id) == user
            assert await observer.users.get(user.id) == user

    async def test_idle_exchanges_change_nothing(self, unit_of_work: UnitOfWorkFactory) -> None:
        """A commit may hold nothing but idle exchanges, or have them between its writes."""
        user = make_user()
        async with unit_of_work() as uow:
            uow.idle(2)
            await uow.commit()
        async with unit_of_work() as uow:
            uow.idle(1)
            uow.users.add(user)
            uow.idle(2)
            await uow.commit()
            assert await uow.users.get(user.id) == user

    async def test_leaving_without_a_commit_changes_nothing(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """What was staged is forgotten."""
        user, family = await user_with_family(unit_of_work)
        async with unit_of_work() as uow:
            uow.users.save(user.with_display_name("Ada", NOW))
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
        assert await read_pair(unit_of_work, family.id) == (family, user)

    async def test_an_exception_changes_nothing_and_gets_out(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The block is left by the very exception that was raised in it."""
        user, family = await user_with_family(unit_of_work)
        failure = RuntimeError("in the middle")

        async def fail() -> None:
            async with unit_of_work() as uow:
                uow.users.save(user.with_display_name("Ada", NOW))
                uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
                raise failure

        with pytest.raises(RuntimeError) as raised:
            await fail()
        assert raised.value is failure
        assert await read_pair(unit_of_work, family.id) == (family, user)

    async def test_what_was_committed_before_an_exception_stays(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Reuse detection commits the revocation and then fails the request."""
        _, family = await user_with_family(unit_of_work)

        async def fail() -> None:
            async with unit_of_work() as uow:
                uow.families.revoke(family.id, NOW, RevokeReason.REUSE_DETECTED)
                await uow.commit()
                raise RuntimeError("after the commit")

        with pytest.raises(RuntimeError, match="after the commit"):
            await fail()
        stored = await read_family(unit_of_work, family.id)
        assert stored.revoke_reason is RevokeReason.REUSE_DETECTED

    async def test_a_commit_of_nothing_is_no_error(self, unit_of_work: UnitOfWorkFactory) -> None:
        """A use-case need not ask whether there is something to do."""
        async with unit_of_work() as uow:
            await uow.commit()

    async def test_writes_apply_in_the_order_staged(self, unit_of_work: UnitOfWorkFactory) -> None:
        """Each builds on those before it, in one commit."""
        user = make_user()
        newer_user = user.with_display_name("Ada", NOW)
        family, kept = make_family(user), make_family(user, 2)
        rotated = rotate(family, at=NOW)

        def stage(uow: UnitOfWork) -> None:
            uow.users.add(user)
            uow.users.save(newer_user)
            uow.families.add(family)
            uow.families.save(rotated)
            uow.families.revoke_all(user.id, NOW, RevokeReason.LOGOUT_ALL)
            uow.families.add(kept)

        await commit(unit_of_work, stage)
        ended = replace(rotated, revoked_at=NOW, revoke_reason=RevokeReason.LOGOUT_ALL)
        assert await read_pair(unit_of_work, family.id) == (ended, newer_user)
        assert await read_pair(unit_of_work, kept.id) == (kept, newer_user)

    async def test_a_stale_write_undoes_those_before_it(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """All or nothing, whatever kinds of writes there are."""
        user, family = await user_with_family(unit_of_work)
        newcomer = make_user(2)

        def stage(uow: UnitOfWork) -> None:
            uow.users.add(newcomer)
            uow.users.save(user.with_roles(frozenset({ADMIN_ROLE}), NOW))
            uow.families.add(make_family(user, 2))
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
            uow.families.save(rotate(rotate(family)))

        with pytest.raises(StaleFamily):
            await commit(unit_of_work, stage)
        assert await read_pair(unit_of_work, family.id) == (family, user)
        async with unit_of_work() as uow:
            assert await uow.users.get(newcomer.id) is None
            assert await uow.families.list_live(user.id, NOW) == [family]

    async def test_a_taken_address_undoes_the_writes_before_it(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """All or nothing, here too."""
        user, family = await user_with_family(unit_of_work)

        def stage(uow: UnitOfWork) -> None:
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
            uow.users.add(make_user(2, email=user.email))

        with pytest.raises(EmailTaken):
            await commit(unit_of_work, stage)
        assert await read_pair(unit_of_work, family.id) == (family, user)

    async def test_the_store_goes_on_after_a_failed_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Read again and save again: that is how a use-case answers a stale write."""
        user, family = await user_with_family(unit_of_work)
        with pytest.raises(StaleFamily):
            await save(unit_of_work, family)
        await save(unit_of_work, rotate(family))
        assert await read_pair(unit_of_work, family.id) == (rotate(family), user)

    async def test_units_of_work_left_open_hold_nothing_up(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Many of them can have read and staged while another commits."""
        user, family = await user_with_family(unit_of_work)
        rotated = rotate(family)
        waiting = [unit_of_work() for _ in range(2 * RACERS)]
        for uow in waiting:
            await uow.__aenter__()
            await uow.families.get_with_user(family.id)
            uow.users.save(user.with_display_name("Ada", NOW))
        await save(unit_of_work, rotated)
        for uow in waiting:
            assert await uow.families.get(family.id) == rotated
            await uow.__aexit__(None, None, None)

    async def test_a_cancelled_unit_of_work_leaves_nothing_behind(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Whenever it hits, until it comes too late: all or nothing, and the next one succeeds."""
        _, family = await user_with_family(unit_of_work)

        async def change() -> None:
            async with unit_of_work() as uow:
                found = await uow.families.get_with_user(family.id)
                assert found is not None
                uow.users.save(found[1].with_display_name("Ada", NOW))
                uow.families.save(rotate(found[0]))
                await uow.commit()

        finished = False
        cancelled: list[asyncio.Task[None]] = []
        while not finished:
            task = asyncio.create_task(change())
            for _ in range(5 * len(cancelled)):
                await asyncio.sleep(0)
            finished = task.done()
            task.cancel()
            await asyncio.wait({task})
            # Kept, because the traceback of its end keeps alive what a driver left open.
            cancelled.append(task)
            before, user = await read_pair(unit_of_work, family.id)
            assert before.generation == user.version
            await change()
            after, user = await read_pair(unit_of_work, family.id)
            assert after.generation == user.version == before.generation + 1
