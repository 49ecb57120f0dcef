"""What every `UnitOfWork` must do, as tests.

Subclass it and give one fixture:

```python
class TestMyUnitOfWork(UnitOfWorkContract):
    @pytest.fixture
    def unit_of_work(self, my_empty_store: MyStore) -> UnitOfWorkFactory:
        return lambda: MyUnitOfWork(my_empty_store)
```

The tests are coroutines: they need pytest-asyncio, in either of its modes. Say
`pytest.register_assert_rewrite("keyturn.testing")` in `conftest.py`, and a failure shows values.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from keyturn.domain.errors import (
    EmailTaken,
    InvalidEmail,
    RoleNotFound,
    StaleFamily,
    StaleUser,
)
from keyturn.domain.events import Origin
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.refresh_token_family import Device, RefreshTokenFamily, RevokeReason
from keyturn.domain.user import ADMIN_ROLE, BUILT_IN_ROLES, USER_ROLE, Role, User, UserStatus
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.testing.builders import make_family, make_token_id, make_user, rotate
from keyturn.testing.doubles import START
from keyturn.testing.steps import HOUR, NOW, RACERS, ROGUE, TICK, commit, race

LONG_AGO = NOW - timedelta(days=365)

ROLES_OF_VERSION = (frozenset({USER_ROLE}), frozenset(BUILT_IN_ROLES))

NOBODY = UserId(UUID(int=1))
NO_FAMILY = FamilyId(UUID(int=2))


class UnitOfWorkContract:
    """The contract of `UnitOfWork` and its repositories."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

    # Staging and committing

    async def test_what_is_staged_is_invisible_before_the_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Neither this unit of work nor another sees it."""
        user, family = await _user_with_family(unit_of_work)
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

    async def test_leaving_without_a_commit_changes_nothing(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """What was staged is forgotten."""
        user, family = await _user_with_family(unit_of_work)
        async with unit_of_work() as uow:
            uow.users.save(user.with_display_name("Ada", NOW))
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
        assert await _read_pair(unit_of_work, family.id) == (family, user)

    async def test_an_exception_changes_nothing_and_gets_out(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The block is left by the very exception that was raised in it."""
        user, family = await _user_with_family(unit_of_work)
        failure = RuntimeError("in the middle")

        async def fail() -> None:
            async with unit_of_work() as uow:
                uow.users.save(user.with_display_name("Ada", NOW))
                uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
                raise failure

        with pytest.raises(RuntimeError) as raised:
            await fail()
        assert raised.value is failure
        assert await _read_pair(unit_of_work, family.id) == (family, user)

    async def test_what_was_committed_before_an_exception_stays(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Reuse detection commits the revocation and then fails the request."""
        _, family = await _user_with_family(unit_of_work)

        async def fail() -> None:
            async with unit_of_work() as uow:
                uow.families.revoke(family.id, NOW, RevokeReason.REUSE_DETECTED)
                await uow.commit()
                raise RuntimeError("after the commit")

        with pytest.raises(RuntimeError, match="after the commit"):
            await fail()
        stored = await _read_family(unit_of_work, family.id)
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
        assert await _read_pair(unit_of_work, family.id) == (ended, newer_user)
        assert await _read_pair(unit_of_work, kept.id) == (kept, newer_user)

    async def test_a_stale_write_undoes_those_before_it(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """All or nothing, whatever kinds of writes there are."""
        user, family = await _user_with_family(unit_of_work)
        newcomer = make_user(2)

        def stage(uow: UnitOfWork) -> None:
            uow.users.add(newcomer)
            uow.users.save(user.with_roles(frozenset({ADMIN_ROLE}), NOW))
            uow.families.add(make_family(user, 2))
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
            uow.families.save(rotate(rotate(family)))

        with pytest.raises(StaleFamily):
            await commit(unit_of_work, stage)
        assert await _read_pair(unit_of_work, family.id) == (family, user)
        async with unit_of_work() as uow:
            assert await uow.users.get(newcomer.id) is None
            assert await uow.families.list_live(user.id, NOW) == [family]

    async def test_a_taken_address_undoes_the_writes_before_it(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """All or nothing, here too."""
        user, family = await _user_with_family(unit_of_work)

        def stage(uow: UnitOfWork) -> None:
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
            uow.users.add(make_user(2, email=user.email))

        with pytest.raises(EmailTaken):
            await commit(unit_of_work, stage)
        assert await _read_pair(unit_of_work, family.id) == (family, user)

    async def test_the_store_goes_on_after_a_failed_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Read again and save again: that is how a use-case answers a stale write."""
        user, family = await _user_with_family(unit_of_work)
        with pytest.raises(StaleFamily):
            await _save(unit_of_work, family)
        await _save(unit_of_work, rotate(family))
        assert await _read_pair(unit_of_work, family.id) == (rotate(family), user)

    async def test_units_of_work_left_open_hold_nothing_up(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Many of them can have read and staged while another commits."""
        user, family = await _user_with_family(unit_of_work)
        rotated = rotate(family)
        waiting = [unit_of_work() for _ in range(2 * RACERS)]
        for uow in waiting:
            await uow.__aenter__()
            await uow.families.get_with_user(family.id)
            uow.users.save(user.with_display_name("Ada", NOW))
        await _save(unit_of_work, rotated)
        for uow in waiting:
            assert await uow.families.get(family.id) == rotated
            await uow.__aexit__(None, None, None)

    async def test_a_cancelled_unit_of_work_leaves_nothing_behind(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Whenever it hits, until it comes too late: all or nothing, and the next one succeeds."""
        _, family = await _user_with_family(unit_of_work)

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
            before, user = await _read_pair(unit_of_work, family.id)
            assert before.generation == user.version
            await change()
            after, user = await _read_pair(unit_of_work, family.id)
            assert after.generation == user.version == before.generation + 1

    # Users

    @pytest.mark.parametrize(
        "user",
        [
            pytest.param(make_user(created_at=NOW), id="plain"),
            pytest.param(make_user(roles=frozenset()), id="without roles"),
            pytest.param(make_user(roles=frozenset(BUILT_IN_ROLES)), id="with every role"),
            pytest.param(make_user(status=UserStatus.DISABLED), id="disabled"),
            pytest.param(make_user(display_name=""), id="with an empty name"),
            pytest.param(
                make_user(display_name=ROGUE, email="Zoë+🦊@exämple.com"), id="with a rogue name"
            ),
            pytest.param(
                replace(make_user(), epoch=7, version=9, last_login_at=NOW, updated_at=NOW + TICK),
                id="with a history",
            ),
        ],
    )
    async def test_a_user_comes_back_as_it_was_added(
        self, unit_of_work: UnitOfWorkFactory, user: User
    ) -> None:
        """Every field, the spelling of the address and the roles' permissions included."""
        await _add(unit_of_work, user)
        async with unit_of_work() as uow:
            assert await uow.users.get(user.id) == user
            assert await uow.users.get_by_email(user.email) == user

    async def test_times_come_back_as_aware_utc(self, unit_of_work: UnitOfWorkFactory) -> None:
        """To the microsecond, in summer and in winter."""
        summer = NOW.replace(month=7)
        user = replace(make_user(created_at=NOW), updated_at=summer, last_login_at=summer + TICK)
        family = make_family(user, started_at=summer)
        await _add(unit_of_work, user)
        await _add(unit_of_work, family)
        await _revoke(unit_of_work, family.id, NOW, RevokeReason.LOGOUT)
        stored_family, stored_user = await _read_pair(unit_of_work, family.id)
        assert _microseconds_in_utc(
            stored_user.created_at, stored_user.updated_at, stored_user.last_login_at
        ) == [123_457, 123_457, 123_458]
        assert (
            _microseconds_in_utc(
                stored_family.created_at,
                stored_family.rotated_at,
                stored_family.expires_at,
                stored_family.absolute_expires_at,
                stored_family.revoked_at,
            )
            == [123_457] * 5
        )

    async def test_a_user_who_does_not_exist_is_none(self, unit_of_work: UnitOfWorkFactory) -> None:
        """An unknown id or address is no error."""
        async with unit_of_work() as uow:
            assert await uow.users.get(NOBODY) is None
            assert await uow.users.get_by_email("nobody@example.com") is None

    @pytest.mark.parametrize(
        ("stored", "asked"),
        [
            ("Ada@Example.com", "ada@example.com"),
            ("ada@example.com", "ADA@EXAMPLE.COM"),
            ("zoë@example.com", "zoe\u0308@example.com"),
            ("zoe\u0308@example.com", "ZOË@example.com"),
            ("straße@example.com", "STRASSE@example.com"),
            ("ΣΊΣΥΦΟΣ@example.com", "σίσυφος@example.com"),
        ],
    )
    async def test_two_spellings_of_an_address_are_one(
        self, unit_of_work: UnitOfWorkFactory, stored: str, asked: str
    ) -> None:
        """Found by either, and taken in either, by `canonical_email`."""
        user = make_user(1, email=stored)
        await _add(unit_of_work, user)
        async with unit_of_work() as uow:
            assert await uow.users.get_by_email(asked) == user
        with pytest.raises(EmailTaken):
            await _add(unit_of_work, make_user(2, email=asked))
        async with unit_of_work() as uow:
            assert await uow.users.get_by_email(asked) == user

    @pytest.mark.parametrize("nonsense", ["", "nobody", "a\x00@example.com", "a@" + "b" * 254])
    async def test_to_look_for_what_is_no_address_is_an_error(
        self, unit_of_work: UnitOfWorkFactory, nonsense: str
    ) -> None:
        """`InvalidEmail`, as `canonical_email` says."""
        async with unit_of_work() as uow:
            with pytest.raises(InvalidEmail):
                await uow.users.get_by_email(nonsense)

    async def test_of_concurrent_adds_of_one_address_one_succeeds(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The others are told that it is taken, and the winner is stored whole."""
        spellings = ("ada@example.com", "ADA@example.com")
        users = [make_user(n, email=spellings[n % 2]) for n in range(1, RACERS + 1)]
        winner = await race(EmailTaken, [_add(unit_of_work, u) for u in users])
        async with unit_of_work() as uow:
            assert await uow.users.get_by_email("ada@example.com") == users[winner]

    async def test_a_saved_user_comes_back_as_it_was_saved(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Every field that a version may change."""
        user = make_user()
        await _add(unit_of_work, user)
        versions = [user]

        def then(change: Callable[[User], User]) -> None:
            versions.append(change(versions[-1]))

        then(lambda user: user.with_password("$argon2id$v=19$m=1,t=1,p=1$YQ$Yg", NOW))
        then(lambda user: user.with_status(UserStatus.DISABLED, NOW + TICK))
        then(lambda user: user.with_display_name(ROGUE, NOW + HOUR))
        then(lambda user: user.with_display_name(None, NOW + HOUR))
        then(lambda user: user.with_roles(frozenset(BUILT_IN_ROLES), NOW + HOUR))
        then(lambda user: user.with_roles(frozenset({ADMIN_ROLE}), NOW + HOUR))
        then(lambda user: user.with_roles(frozenset(), NOW + HOUR))
        then(lambda user: user.with_roles(frozenset({USER_ROLE}), NOW + HOUR))
        then(lambda user: user.logged_in(NOW + HOUR, password_hash=user.password_hash))
        then(lambda user: user.logged_out_everywhere(NOW + 2 * HOUR))
        for version in versions[1:]:
            await _save(unit_of_work, version)
            assert await _read_user(unit_of_work, user.id) == version

    async def test_saving_one_user_leaves_the_others_alone(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Their fields and their roles."""
        ada, bob = make_user(1), make_user(2)
        await _add(unit_of_work, ada)
        await _add(unit_of_work, bob)
        await _save(unit_of_work, ada.with_roles(frozenset(), NOW))
        assert await _read_user(unit_of_work, bob.id) == bob

    @pytest.mark.parametrize("version", [-1, 2, 3, 5, 6])
    async def test_a_save_of_another_version_than_the_next_is_stale(
        self, unit_of_work: UnitOfWorkFactory, version: int
    ) -> None:
        """Neither the same one, nor an older one, nor one that skips."""
        user = replace(make_user(), version=3)
        await _add(unit_of_work, user)
        changed = replace(user, version=version, display_name="Ada")
        with pytest.raises(StaleUser):
            await _save(unit_of_work, changed)
        assert await _read_user(unit_of_work, user.id) == user

    async def test_a_save_of_a_user_who_is_not_stored_is_stale(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Nothing is created by it."""
        user = make_user().with_display_name("Ada", NOW)
        with pytest.raises(StaleUser):
            await _save(unit_of_work, user)
        async with unit_of_work() as uow:
            assert await uow.users.get(user.id) is None

    async def test_of_concurrent_saves_of_one_user_version_one_succeeds(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The others are stale, and the winner is stored whole."""
        user = make_user()
        await _add(unit_of_work, user)
        roles = (frozenset[Role](), frozenset({USER_ROLE}), frozenset({ADMIN_ROLE}))
        rivals = [
            replace(user.with_roles(roles[n % 3], NOW), display_name=str(n)) for n in range(RACERS)
        ]
        winner = await race(StaleUser, [_save(unit_of_work, r) for r in rivals])
        assert await _read_user(unit_of_work, user.id) == rivals[winner]

    # Roles

    async def test_the_built_in_roles_are_there(self, unit_of_work: UnitOfWorkFactory) -> None:
        """With their permissions."""
        async with unit_of_work() as uow:
            names = frozenset(role.name for role in BUILT_IN_ROLES)
            assert await uow.roles.get_many(names) == frozenset(BUILT_IN_ROLES)

    async def test_a_user_has_roles_by_name(self, unit_of_work: UnitOfWorkFactory) -> None:
        """With the permissions that are stored, whatever the user claims."""
        user = make_user(roles=frozenset({USER_ROLE}))
        claimed = frozenset({Role("user", frozenset({"everything:do"}))})
        await _add(unit_of_work, replace(user, roles=claimed))
        assert await _read_user(unit_of_work, user.id) == user
        user = user.with_roles(frozenset({USER_ROLE}), NOW)
        await _save(unit_of_work, replace(user, roles=claimed))
        assert await _read_user(unit_of_work, user.id) == user

    async def test_nobody_is_given_a_role_that_does_not_exist(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Neither a new user nor a stored one, and nothing else of the commit is applied."""
        ghostly = frozenset({USER_ROLE, Role("ghost", frozenset())})
        user, newcomer = make_user(1), make_user(2, roles=ghostly)
        await _add(unit_of_work, user)
        for refused in (newcomer, user.with_roles(ghostly, NOW)):
            with pytest.raises(RoleNotFound):
                await _put(unit_of_work, refused)
        async with unit_of_work() as uow:
            assert await uow.users.get(newcomer.id) is None
            assert await uow.users.get(user.id) == user

    async def test_roles_that_do_not_exist_are_left_out(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Asking for them is no error, nor is asking for none."""
        async with unit_of_work() as uow:
            assert await uow.roles.get_many(frozenset({"user", "ghost"})) == {USER_ROLE}
            assert await uow.roles.get_many(frozenset({"ghost"})) == frozenset()
            assert await uow.roles.get_many(frozenset({"a\x00", "\ud800"})) == frozenset()
            assert await uow.roles.get_many(frozenset()) == frozenset()

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
        await _add(unit_of_work, user)
        await _add(unit_of_work, family)
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
            await _add(unit_of_work, family)
        async with unit_of_work() as uow:
            assert await uow.families.get(family.id) is None

    async def test_a_family_comes_with_its_own_user_and_all_its_roles(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Among others of both kinds."""
        ada, bob = make_user(1, roles=frozenset(BUILT_IN_ROLES)), make_user(2)
        families = [make_family(bob, 1), make_family(ada, 2), make_family(bob, 3)]
        await _add(unit_of_work, ada)
        await _add(unit_of_work, bob)
        for family in families:
            await _add(unit_of_work, family)
        assert await _read_pair(unit_of_work, families[1].id) == (families[1], ada)
        assert await _read_pair(unit_of_work, families[2].id) == (families[2], bob)

    async def test_a_family_and_its_user_are_read_as_of_one_moment(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Whoever changes both in one commit is never seen half way."""
        user, family = await _user_with_family(unit_of_work)
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
                stored_family, stored_user = await _read_pair(unit_of_work, family.id)
                assert stored_family.generation == stored_user.version
                assert stored_user.roles == ROLES_OF_VERSION[stored_user.version % 2]

        await asyncio.gather(change_both(), observe(), observe())

    async def test_a_rotated_family_comes_back_as_it_was_saved(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The chain moves on, the absolute expiry stays."""
        _, family = await _user_with_family(unit_of_work)
        rotated = family
        for number in range(3):
            at = NOW + number * HOUR
            rotated = rotate(rotated, at=at, origin=Origin("::1", f"{ROGUE} {number}"))
            await _save(unit_of_work, rotated)
            assert await _read_family(unit_of_work, family.id) == rotated
        assert rotated.absolute_expires_at == family.absolute_expires_at

    async def test_rotating_one_family_leaves_the_others_alone(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Even those of the same user and generation."""
        user, family = await _user_with_family(unit_of_work)
        other = make_family(user, 2)
        await _add(unit_of_work, other)
        await _save(unit_of_work, rotate(family))
        assert await _read_family(unit_of_work, other.id) == other

    @pytest.mark.parametrize("generation", [-1, 2, 3, 5, 6])
    async def test_a_save_of_another_generation_than_the_next_is_stale(
        self, unit_of_work: UnitOfWorkFactory, generation: int
    ) -> None:
        """Neither the same one, nor an older one, nor one that skips."""
        user = make_user()
        family = rotate(rotate(rotate(make_family(user))))
        await _add(unit_of_work, user)
        await _add(unit_of_work, family)
        changed = replace(rotate(family), generation=generation)
        with pytest.raises(StaleFamily):
            await _save(unit_of_work, changed)
        assert await _read_family(unit_of_work, family.id) == family

    async def test_a_save_of_a_family_that_is_not_stored_is_stale(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Nothing is created by it."""
        user, _ = await _user_with_family(unit_of_work)
        unknown = rotate(make_family(user, 2))
        with pytest.raises(StaleFamily):
            await _save(unit_of_work, unknown)
        async with unit_of_work() as uow:
            assert await uow.families.get(unknown.id) is None

    async def test_of_concurrent_saves_of_one_generation_one_succeeds(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The others are stale: one token gets one successor."""
        _, family = await _user_with_family(unit_of_work)
        rivals = [rotate(family, successor=make_token_id(n)) for n in range(1, RACERS + 1)]
        winner = await race(
            StaleFamily,
            [_save(unit_of_work, r) for r in rivals],
        )
        assert await _read_family(unit_of_work, family.id) == rivals[winner]

    # How sessions end

    async def test_a_revoked_family_says_when_and_why(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """And nothing else of it changes."""
        user, family = await _user_with_family(unit_of_work)
        for number, reason in enumerate(RevokeReason, start=2):
            family = make_family(user, number)
            await _add(unit_of_work, family)
            await _revoke(unit_of_work, family.id, NOW, reason)
            assert await _read_family(unit_of_work, family.id) == replace(
                family, revoked_at=NOW, revoke_reason=reason
            )

    async def test_the_first_revocation_stands(self, unit_of_work: UnitOfWorkFactory) -> None:
        """A later one, of either kind, changes neither the time nor the reason."""
        user, family = await _user_with_family(unit_of_work)
        await _revoke(unit_of_work, family.id, NOW, RevokeReason.REUSE_DETECTED)
        await _revoke(unit_of_work, family.id, START, RevokeReason.LOGOUT)
        await _revoke_all(unit_of_work, user.id, NOW + HOUR, RevokeReason.LOGOUT_ALL)
        assert await _read_family(unit_of_work, family.id) == replace(
            family, revoked_at=NOW, revoke_reason=RevokeReason.REUSE_DETECTED
        )

    async def test_to_revoke_the_unknown_is_no_error(self, unit_of_work: UnitOfWorkFactory) -> None:
        """A logout of a session that was purged succeeds."""
        user, family = await _user_with_family(unit_of_work)
        await _revoke(unit_of_work, NO_FAMILY, NOW, RevokeReason.LOGOUT)
        await _revoke_all(unit_of_work, NOBODY, NOW, RevokeReason.LOGOUT_ALL)
        assert await _read_pair(unit_of_work, family.id) == (family, user)

    async def test_a_revocation_wins_over_a_rotation_that_came_before_it(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """It was staged on what was read before the rotation, and looks at no generation."""
        _, family = await _user_with_family(unit_of_work)
        async with unit_of_work() as uow:
            await uow.families.get(family.id)
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
            await _save(unit_of_work, rotate(family))
            await uow.commit()
        assert await _read_family(unit_of_work, family.id) == replace(
            rotate(family), revoked_at=NOW, revoke_reason=RevokeReason.LOGOUT
        )

    async def test_a_revocation_wins_over_a_rotation_that_comes_after_it(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The rotation rests on a generation that is still right, and is stale all the same."""
        _, family = await _user_with_family(unit_of_work)
        async with unit_of_work() as uow:
            await uow.families.get(family.id)
            uow.families.save(rotate(family))
            await _revoke(unit_of_work, family.id, NOW, RevokeReason.LOGOUT)
            with pytest.raises(StaleFamily):
                await uow.commit()
        assert await _read_family(unit_of_work, family.id) == replace(
            family, revoked_at=NOW, revoke_reason=RevokeReason.LOGOUT
        )

    async def test_a_revocation_wins_over_a_rotation_in_the_same_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Staged behind it, the rotation is stale, and takes the revocation down with it."""
        _, family = await _user_with_family(unit_of_work)

        def stage(uow: UnitOfWork) -> None:
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
            uow.families.save(rotate(family))

        with pytest.raises(StaleFamily):
            await commit(unit_of_work, stage)
        assert await _read_family(unit_of_work, family.id) == family

    async def test_a_revocation_wins_every_race(self, unit_of_work: UnitOfWorkFactory) -> None:
        """Whoever comes first, no rotation survives it."""
        _, family = await _user_with_family(unit_of_work)
        rivals = [rotate(family, successor=make_token_id(n)) for n in range(1, RACERS + 1)]
        commits = [_save(unit_of_work, r) for r in rivals]
        commits.insert(
            RACERS // 2,
            _revoke(unit_of_work, family.id, NOW, RevokeReason.LOGOUT),
        )
        outcomes = await asyncio.gather(*commits, return_exceptions=True)
        assert outcomes[RACERS // 2] is None
        del outcomes[RACERS // 2]
        assert all(o is None or isinstance(o, StaleFamily) for o in outcomes)
        assert outcomes.count(None) <= 1
        stored = await _read_family(unit_of_work, family.id)
        assert stored.revoked_at == NOW
        assert stored.generation == outcomes.count(None)

    async def test_every_family_of_a_user_can_be_ended(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """All of this user's, rotated or not, and none of another's."""
        ada, family = await _user_with_family(unit_of_work)
        bob = make_user(2)
        second, bobs = rotate(make_family(ada, 2)), make_family(bob, 3)
        await _add(unit_of_work, bob)
        await _add(unit_of_work, second)
        await _add(unit_of_work, bobs)
        await _revoke_all(unit_of_work, ada.id, NOW, RevokeReason.LOGOUT_ALL)
        for ended in (family, second):
            assert await _read_family(unit_of_work, ended.id) == replace(
                ended, revoked_at=NOW, revoke_reason=RevokeReason.LOGOUT_ALL
            )
        assert await _read_family(unit_of_work, bobs.id) == bobs

    async def test_one_family_can_be_kept_when_the_others_end(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The session that changes the password goes on."""
        user, kept = await _user_with_family(unit_of_work)
        other = make_family(user, 2)
        await _add(unit_of_work, other)
        await _revoke_all(unit_of_work, user.id, NOW, RevokeReason.PASSWORD_CHANGED, keep=kept.id)
        assert await _read_family(unit_of_work, kept.id) == kept
        assert (await _read_family(unit_of_work, other.id)).revoked_at == NOW

    async def test_ending_all_applies_to_what_is_stored_at_the_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """A login that was committed after the staging ends too."""
        user, family = await _user_with_family(unit_of_work)
        newer = make_family(user, 2)
        async with unit_of_work() as uow:
            assert await uow.families.list_live(user.id, NOW) == [family]
            uow.families.revoke_all(user.id, NOW, RevokeReason.LOGOUT_ALL)
            await _add(unit_of_work, newer)
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
        await _add(unit_of_work, user)
        for family in (second, third, first):
            await _add(unit_of_work, family)
        assert await _live(unit_of_work, user, NOW + HOUR) == [third, second, first]
        used = rotate(first, at=NOW + 3 * TICK)
        await _save(unit_of_work, used)
        assert await _live(unit_of_work, user, NOW + HOUR) == [used, third, second]

    async def test_only_live_families_of_that_user_are_listed_as_live(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Until the very moment of the expiry, and not at it."""
        user, family = await _user_with_family(unit_of_work)
        bob = make_user(2)
        await _add(unit_of_work, bob)
        await _add(unit_of_work, make_family(bob, 2))
        assert await _live(unit_of_work, user, family.expires_at - TICK) == [family]
        assert await _live(unit_of_work, user, family.expires_at) == []
        await _revoke(unit_of_work, family.id, NOW, RevokeReason.LOGOUT)
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
        await _add(unit_of_work, user)
        for family in (revoked_late, live, expired, revoked):
            await _add(unit_of_work, family)
        revoked_late = await _revoked(unit_of_work, revoked_late, NOW - TICK)
        revoked = await _revoked(unit_of_work, revoked, NOW - timedelta(days=3))
        assert await _ended(unit_of_work, user, NOW, LONG_AGO) == [expired, revoked_late, revoked]

    async def test_ended_families_are_listed_from_since_on(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Both moments belong to the span."""
        user, family = await _user_with_family(unit_of_work)
        other = make_family(user, 2)
        await _add(unit_of_work, other)
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
        user, family = await _user_with_family(unit_of_work)
        others = [make_family(user, number) for number in (2, 3)]
        for other in others:
            await _add(unit_of_work, other)
        await _revoked(unit_of_work, others[0], NOW)
        await _revoked(unit_of_work, others[1], family.expires_at + HOUR)
        end = family.expires_at
        for moment in (NOW - HOUR, NOW, NOW + TICK, end - TICK, end, end + TICK, end + 2 * HOUR):
            live = await _live(unit_of_work, user, moment)
            ended = await _ended(unit_of_work, user, moment, LONG_AGO)
            assert len(live) + len(ended) == 3
            assert {f.id for f in live} == {f.id for f in (*live, *ended) if f.is_live(moment)}


async def _add(unit_of_work: UnitOfWorkFactory, added: User | RefreshTokenFamily) -> None:
    async with unit_of_work() as uow:
        if isinstance(added, User):
            uow.users.add(added)
        else:
            uow.families.add(added)
        await uow.commit()


async def _put(unit_of_work: UnitOfWorkFactory, user: User) -> None:
    await (_save if user.version else _add)(unit_of_work, user)


async def _save(unit_of_work: UnitOfWorkFactory, saved: User | RefreshTokenFamily) -> None:
    async with unit_of_work() as uow:
        if isinstance(saved, User):
            uow.users.save(saved)
        else:
            uow.families.save(saved)
        await uow.commit()


async def _revoke(
    unit_of_work: UnitOfWorkFactory, family_id: FamilyId, at: datetime, reason: RevokeReason
) -> None:
    async with unit_of_work() as uow:
        uow.families.revoke(family_id, at, reason)
        await uow.commit()


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


async def _user_with_family(unit_of_work: UnitOfWorkFactory) -> tuple[User, RefreshTokenFamily]:
    user = make_user()
    family = make_family(user, started_at=NOW)

    def stage(uow: UnitOfWork) -> None:
        uow.users.add(user)
        uow.families.add(family)

    await commit(unit_of_work, stage)
    return user, family


async def _read_user(unit_of_work: UnitOfWorkFactory, user_id: UserId) -> User:
    async with unit_of_work() as uow:
        user = await uow.users.get(user_id)
    assert user is not None
    return user


async def _read_family(unit_of_work: UnitOfWorkFactory, family_id: FamilyId) -> RefreshTokenFamily:
    async with unit_of_work() as uow:
        family = await uow.families.get(family_id)
    assert family is not None
    return family


async def _read_pair(
    unit_of_work: UnitOfWorkFactory, family_id: FamilyId
) -> tuple[RefreshTokenFamily, User]:
    async with unit_of_work() as uow:
        pair = await uow.families.get_with_user(family_id)
    assert pair is not None
    return pair


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
    await _revoke(unit_of_work, family.id, at, RevokeReason.REVOKED)
    return replace(family, revoked_at=at, revoke_reason=RevokeReason.REVOKED)


def _microseconds_in_utc(*times: datetime | None) -> list[int]:
    microseconds = []
    for time in times:
        assert time is not None
        assert time.utcoffset() == timedelta(0)
        microseconds.append(time.microsecond)
    return microseconds
