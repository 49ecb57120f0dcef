"""What every `UnitOfWork` must do about sessions, as tests.

A part of `keyturn.testing.persistence_contract`, with the same fixture.
"""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from keyturn.domain.errors import StaleFamily, StaleUser
from keyturn.domain.events import Origin
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.refresh_token_family import Device, RefreshTokenFamily, RevokeReason
from keyturn.domain.user import BUILT_IN_ROLES, USER_ROLE, User
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.testing.builders import make_family, make_token_id, make_user, rotate
from keyturn.testing.doubles import START
from keyturn.testing.extra import pytest
from keyturn.testing.steps import (
    HOUR,
    NOBODY,
    NOW,
    RACERS,
    ROGUE,
    TICK,
    add,
    commit,
    race,
    read_family,
    read_pair,
    revoke,
    save,
    user_with_family,
)

LONG_AGO = NOW - timedelta(days=365)

ROLES_OF_VERSION = (frozenset({USER_ROLE}), frozenset(BUILT_IN_ROLES))

NO_FAMILY = FamilyId(UUID(int=2))


class FamiliesContract:
    """The contract of `FamilyRepository`."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

    # How sessions begin and go on

    @pytest.mark.parametrize(
        "family",
        [
            pytest.param(make_family(make_user(), started_at=NOW), id="plain"),
            pytest.param(make_family(make_user(), scope=frozenset()), id="limited to nothing"),
            pytest.param(
                make_family(make_user(), scope=frozenset({"a:read", "ü:🦊"})), id="limited"
            ),
            pytest.param(
                make_family(make_user(), client_id=ROGUE, device=Device(ROGUE, ROGUE, "::1")),
                id="on a rogue device",
            ),
            pytest.param(make_family(make_user(), device=Device("", "", "")), id="empty texts"),
            pytest.param(make_family(make_user(), key_thumbprint="A" * 43), id="bound to a key"),
            pytest.param(rotate(rotate(make_family(make_user())), at=NOW), id="rotated"),
            pytest.param(
                replace(
                    make_family(make_user()), revoked_at=NOW, revoke_reason=RevokeReason.EVICTED
                ),
                id="revoked",
            ),
        ],
    )
    async def test_a_family_comes_back_as_it_was_added(
        self, unit_of_work: UnitOfWorkFactory, family: RefreshTokenFamily
    ) -> None:
        """Every field; a scope of nothing is not the same as no scope."""
        user = make_user()
        await add(unit_of_work, user)
        await add(unit_of_work, family)
        async with unit_of_work() as uow:
            assert await uow.families.get(family.id) == family
            assert await uow.families.get_with_user(family.id) == (family, user)

    async def test_a_family_that_does_not_exist_is_none(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """An unknown id is no error, and an unknown user has no families."""
        async with unit_of_work() as uow:
            assert await uow.families.get(NO_FAMILY) is None
            assert await uow.families.get_with_user(NO_FAMILY) is None
            assert await uow.families.list_live(NOBODY, NOW) == []
            assert await uow.families.list_ended(NOBODY, NOW, LONG_AGO) == []

    async def test_a_family_of_nobody_is_refused(self, unit_of_work: UnitOfWorkFactory) -> None:
        """Its user is gone since it was read: `StaleUser`."""
        family = make_family(make_user())
        with pytest.raises(StaleUser):
            await add(unit_of_work, family)
        async with unit_of_work() as uow:
            assert await uow.families.get(family.id) is None

    async def test_a_family_comes_with_its_own_user_and_all_its_roles(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Among others of both kinds."""
        ada, bob = make_user(1, roles=frozenset(BUILT_IN_ROLES)), make_user(2)
        families = [make_family(bob, 1), make_family(ada, 2), make_family(bob, 3)]
        await add(unit_of_work, ada)
        await add(unit_of_work, bob)
        for family in families:
            await add(unit_of_work, family)
        assert await read_pair(unit_of_work, families[1].id) == (families[1], ada)
        assert await read_pair(unit_of_work, families[2].id) == (families[2], bob)

    async def test_a_family_and_its_user_are_read_as_of_one_moment(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Whoever changes both in one commit is never seen half way."""
        user, family = await user_with_family(unit_of_work)
        done = False

        async def change_both() -> None:
            nonlocal done
            current_user, current_family = user, family
            for _ in range(RACERS):
                roles = ROLES_OF_VERSION[(current_user.version + 1) % 2]
                current_user = current_user.with_roles(roles, NOW)
                current_family = rotate(current_family)
                async with unit_of_work() as uow:
                    uow.users.save(current_user)
                    uow.families.save(current_family)
                    await uow.commit()
            done = True

        async def observe() -> None:
            while not done:
                stored_family, stored_user = await read_pair(unit_of_work, family.id)
                assert stored_family.generation == stored_user.version
                assert stored_user.roles == ROLES_OF_VERSION[stored_user.version % 2]

        await asyncio.gather(change_both(), observe(), observe())

    async def test_a_rotated_family_comes_back_as_it_was_saved(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The chain moves on, the absolute expiry stays."""
        _, family = await user_with_family(unit_of_work)
        rotated = family
        for number in range(3):
            at = NOW + number * HOUR
            rotated = rotate(rotated, at=at, origin=Origin("::1", f"{ROGUE} {number}"))
            await save(unit_of_work, rotated)
            assert await read_family(unit_of_work, family.id) == rotated
        assert rotated.absolute_expires_at == family.absolute_expires_at

    async def test_rotating_one_family_leaves_the_others_alone(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Even those of the same user and generation."""
        user, family = await user_with_family(unit_of_work)
        other = make_family(user, 2)
        await add(unit_of_work, other)
        await save(unit_of_work, rotate(family))
        assert await read_family(unit_of_work, other.id) == other

    @pytest.mark.parametrize("generation", [-1, 2, 3, 5, 6])
    async def test_a_save_of_another_generation_than_the_next_is_stale(
        self, unit_of_work: UnitOfWorkFactory, generation: int
    ) -> None:
        """Neither the same one, nor an older one, nor one that skips."""
        user = make_user()
        family = rotate(rotate(rotate(make_family(user))))
        await add(unit_of_work, user)
        await add(unit_of_work, family)
        changed = replace(rotate(family), generation=generation)
        with pytest.raises(StaleFamily):
            await save(unit_of_work, changed)
        assert await read_family(unit_of_work, family.id) == family

    async def test_a_save_of_a_family_that_is_not_stored_is_stale(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Nothing is created by it."""
        user, _ = await user_with_family(unit_of_work)
        unknown = rotate(make_family(user, 2))
        with pytest.raises(StaleFamily):
            await save(unit_of_work, unknown)
        async with unit_of_work() as uow:
            assert await uow.families.get(unknown.id) is None

    async def test_of_concurrent_saves_of_one_generation_one_succeeds(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The others are stale: one token gets one successor."""
        _, family = await user_with_family(unit_of_work)
        rivals = [rotate(family, successor=make_token_id(n)) for n in range(1, RACERS + 1)]
        winner = await race(
            StaleFamily,
            [save(unit_of_work, r) for r in rivals],
        )
        assert await read_family(unit_of_work, family.id) == rivals[winner]

    # How sessions end

    async def test_a_revoked_family_says_when_and_why(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """And nothing else of it changes."""
        user, family = await user_with_family(unit_of_work)
        for number, reason in enumerate(RevokeReason, start=2):
            family = make_family(user, number)
            await add(unit_of_work, family)
            await revoke(unit_of_work, family.id, NOW, reason)
            assert await read_family(unit_of_work, family.id) == replace(
                family, revoked_at=NOW, revoke_reason=reason
            )

    async def test_the_first_revocation_stands(self, unit_of_work: UnitOfWorkFactory) -> None:
        """A later one, of either kind, changes neither the time nor the reason."""
        user, family = await user_with_family(unit_of_work)
        await revoke(unit_of_work, family.id, NOW, RevokeReason.REUSE_DETECTED)
        await revoke(unit_of_work, family.id, START, RevokeReason.LOGOUT)
        await _revoke_all(unit_of_work, user.id, NOW + HOUR, RevokeReason.LOGOUT_ALL)
        assert await read_family(unit_of_work, family.id) == replace(
            family, revoked_at=NOW, revoke_reason=RevokeReason.REUSE_DETECTED
        )

    async def test_to_revoke_the_unknown_is_no_error(self, unit_of_work: UnitOfWorkFactory) -> None:
        """A logout of a session that was purged succeeds."""
        user, family = await user_with_family(unit_of_work)
        await revoke(unit_of_work, NO_FAMILY, NOW, RevokeReason.LOGOUT)
        await _revoke_all(unit_of_work, NOBODY, NOW, RevokeReason.LOGOUT_ALL)
        assert await read_pair(unit_of_work, family.id) == (family, user)

    async def test_a_revocation_wins_over_a_rotation_that_came_before_it(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """It was staged on what was read before the rotation, and looks at no generation."""
        _, family = await user_with_family(unit_of_work)
        async with unit_of_work() as uow:
            await uow.families.get(family.id)
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
            await save(unit_of_work, rotate(family))
            await uow.commit()
        assert await read_family(unit_of_work, family.id) == replace(
            rotate(family), revoked_at=NOW, revoke_reason=RevokeReason.LOGOUT
        )

    async def test_a_revocation_wins_over_a_rotation_that_comes_after_it(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The rotation rests on a generation that is still right, and is stale all the same."""
        _, family = await user_with_family(unit_of_work)
        async with unit_of_work() as uow:
            await uow.families.get(family.id)
            uow.families.save(rotate(family))
            await revoke(unit_of_work, family.id, NOW, RevokeReason.LOGOUT)
            with pytest.raises(StaleFamily):
                await uow.commit()
        assert await read_family(unit_of_work, family.id) == replace(
            family, revoked_at=NOW, revoke_reason=RevokeReason.LOGOUT
        )

    async def test_a_revocation_wins_over_a_rotation_in_the_same_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Staged behind it, the rotation is stale, and takes the revocation down with it."""
        _, family = await user_with_family(unit_of_work)

        def stage(uow: UnitOfWork) -> None:
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
            uow.families.save(rotate(family))

        with pytest.raises(StaleFamily):
            await commit(unit_of_work, stage)
        assert await read_family(unit_of_work, family.id) == family

    async def test_a_revocation_wins_every_race(self, unit_of_work: UnitOfWorkFactory) -> None:
        """Whoever comes first, no rotation survives it."""
        _, family = await user_with_family(unit_of_work)
        rivals = [rotate(family, successor=make_token_id(n)) for n in range(1, RACERS + 1)]
        commits = [save(unit_of_work, r) for r in rivals]
        commits.insert(
            RACERS // 2,
            revoke(unit_of_work, family.id, NOW, RevokeReason.LOGOUT),
        )
        outcomes = await asyncio.gather(*commits, return_exceptions=True)
        assert outcomes[RACERS // 2] is None
        del outcomes[RACERS // 2]
        assert all(o is None or isinstance(o, StaleFamily) for o in outcomes)
        assert outcomes.count(None) <= 1
        stored = await read_family(unit_of_work, family.id)
        assert stored.revoked_at == NOW
        assert stored.generation == outcomes.count(None)

    async def test_every_family_of_a_user_can_be_ended(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """All of this user's, rotated or not, and none of another's."""
        ada, family = await user_with_family(unit_of_work)
        bob = make_user(2)
        second, bobs = rotate(make_family(ada, 2)), make_family(bob, 3)
        await add(unit_of_work, bob)
        await add(unit_of_work, second)
        await add(unit_of_work, bobs)
        await _revoke_all(unit_of_work, ada.id, NOW, RevokeReason.LOGOUT_ALL)
        for ended in (family, second):
            assert await read_family(unit_of_work, ended.id) == replace(
                ended, revoked_at=NOW, revoke_reason=RevokeReason.LOGOUT_ALL
            )
        assert await read_family(unit_of_work, bobs.id) == bobs

    async def test_one_family_can_be_kept_when_the_others_end(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The session that changes the password goes on."""
        user, kept = await user_with_family(unit_of_work)
        other = make_family(user, 2)
        await add(unit_of_work, other)
        await _revoke_all(unit_of_work, user.id, NOW, RevokeReason.PASSWORD_CHANGED, keep=kept.id)
        assert await read_family(unit_of_work, kept.id) == kept
        assert (await read_family(unit_of_work, other.id)).revoked_at == NOW

    async def test_ending_all_applies_to_what_is_stored_at_the_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """A login that was committed after the staging ends too."""
        user, family = await user_with_family(unit_of_work)
        newer = make_family(user, 2)
        async with unit_of_work() as uow:
            assert await uow.families.list_live(user.id, NOW) == [family]
            uow.families.revoke_all(user.id, NOW, RevokeReason.LOGOUT_ALL)
            await add(unit_of_work, newer)
            await uow.commit()
            assert await uow.families.list_live(user.id, NOW) == []

    # How sessions are listed

    async def test_live_families_are_listed_most_recently_used_first(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """By the last rotation, not by the login."""
        user = make_user()
        first = make_family(user, 1, started_at=NOW)
        second = make_family(user, 2, started_at=NOW + TICK)
        third = make_family(user, 3, started_at=NOW + 2 * TICK)
        await add(unit_of_work, user)
        for family in (second, third, first):
            await add(unit_of_work, family)
        assert await _live(unit_of_work, user, NOW + HOUR) == [third, second, first]
        used = rotate(first, at=NOW + 3 * TICK)
        await save(unit_of_work, used)
        assert await _live(unit_of_work, user, NOW + HOUR) == [used, third, second]

    async def test_only_live_families_of_that_user_are_listed_as_live(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Until the very moment of the expiry, and not at it."""
        user, family = await user_with_family(unit_of_work)
        bob = make_user(2)
        await add(unit_of_work, bob)
        await add(unit_of_work, make_family(bob, 2))
        assert await _live(unit_of_work, user, family.expires_at - TICK) == [family]
        assert await _live(unit_of_work, user, family.expires_at) == []
        await revoke(unit_of_work, family.id, NOW, RevokeReason.LOGOUT)
        assert await _live(unit_of_work, user, NOW) == []

    async def test_ended_families_are_listed_last_ended_first(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Revoked or expired, by when they ended; one revoked after its expiry ended by that."""
        user = make_user()
        live = make_family(user, 1, started_at=NOW)
        expired = make_family(user, 2, started_at=NOW - timedelta(days=8))
        revoked_late = make_family(user, 3, started_at=NOW - timedelta(days=9))
        revoked = make_family(user, 4, started_at=NOW - timedelta(days=5))
        await add(unit_of_work, user)
        for family in (revoked_late, live, expired, revoked):
            await add(unit_of_work, family)
        revoked_late = await _revoked(unit_of_work, revoked_late, NOW - TICK)
        revoked = await _revoked(unit_of_work, revoked, NOW - timedelta(days=3))
        assert await _ended(unit_of_work, user, NOW, LONG_AGO) == [expired, revoked_late, revoked]

    async def test_ended_families_are_listed_from_since_on(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Both moments belong to the span."""
        user, family = await user_with_family(unit_of_work)
        other = make_family(user, 2)
        await add(unit_of_work, other)
        revoked = await _revoked(unit_of_work, other, NOW)
        end = family.expires_at
        assert await _ended(unit_of_work, user, NOW, NOW) == [revoked]
        assert await _ended(unit_of_work, user, NOW + TICK, NOW + TICK) == []
        assert await _ended(unit_of_work, user, end - TICK, NOW + TICK) == []
        assert await _ended(unit_of_work, user, end, NOW + TICK) == [family]
        assert await _ended(unit_of_work, user, end + TICK, end) == [family]
        assert await _ended(unit_of_work, user, end + TICK, end + TICK) == []

    async def test_at_any_moment_a_family_is_either_live_or_ended(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """A clock that lags behind the one of a revocation makes no session disappear."""
        user, family = await user_with_family(unit_of_work)
        others = [make_family(user, number) for number in (2, 3)]
        for other in others:
            await add(unit_of_work, other)
        await _revoked(unit_of_work, others[0], NOW)
        await _revoked(unit_of_work, others[1], family.expires_at + HOUR)
        end = family.expires_at
        for moment in (NOW - HOUR, NOW, NOW + TICK, end - TICK, end, end + TICK, end + 2 * HOUR):
            live = await _live(unit_of_work, user, moment)
            ended = await _ended(unit_of_work, user, moment, LONG_AGO)
            assert len(live) + len(ended) == 3
            assert {f.id for f in live} == {f.id for f in (*live, *ended) if f.is_live(moment)}


async def _revoke_all(
    unit_of_work: UnitOfWorkFactory,
    user_id: UserId,
    at: datetime,
    reason: RevokeReason,
    *,
    keep: FamilyId | None = None,
) -> None:
    async with unit_of_work() as uow:
        uow.families.revoke_all(user_id, at, reason, keep=keep)
        await uow.commit()


async def _live(
    unit_of_work: UnitOfWorkFactory, user: User, now: datetime
) -> list[RefreshTokenFamily]:
    async with unit_of_work() as uow:
        return await uow.families.list_live(user.id, now)


async def _ended(
    unit_of_work: UnitOfWorkFactory, user: User, now: datetime, since: datetime
) -> list[RefreshTokenFamily]:
    async with unit_of_work() as uow:
        return await uow.families.list_ended(user.id, now, since)


async def _revoked(
    unit_of_work: UnitOfWorkFactory, family: RefreshTokenFamily, at: datetime
) -> RefreshTokenFamily:
    await revoke(unit_of_work, family.id, at, RevokeReason.REVOKED)
    return replace(family, revoked_at=at, revoke_reason=RevokeReason.REVOKED)
