"""What every `UnitOfWork` must do about users and their roles, as tests.

A part of `keyturn.testing.persistence_contract`, with the same fixture.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from keyturn.domain.errors import EmailTaken, InvalidEmail, RoleNotFound, StaleUser
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.user import ADMIN_ROLE, BUILT_IN_ROLES, USER_ROLE, Role, User, UserStatus
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.testing.builders import make_family, make_user
from keyturn.testing.extra import pytest
from keyturn.testing.steps import (
    HOUR,
    NOBODY,
    NOW,
    RACERS,
    ROGUE,
    TICK,
    add,
    race,
    read_pair,
    read_user,
    revoke,
    save,
)


class UsersContract:
    """The contract of `UserRepository` and of the roles that a user has."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

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
        await add(unit_of_work, user)
        async with unit_of_work() as uow:
            assert await uow.users.get(user.id) == user
            assert await uow.users.get_by_email(user.email) == user

    async def test_times_come_back_as_aware_utc(self, unit_of_work: UnitOfWorkFactory) -> None:
        """To the microsecond, in summer and in winter."""
        summer = NOW.replace(month=7)
        user = replace(make_user(created_at=NOW), updated_at=summer, last_login_at=summer + TICK)
        family = make_family(user, started_at=summer)
        await add(unit_of_work, user)
        await add(unit_of_work, family)
        await revoke(unit_of_work, family.id, NOW, RevokeReason.LOGOUT)
        stored_family, stored_user = await read_pair(unit_of_work, family.id)
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
        await add(unit_of_work, user)
        async with unit_of_work() as uow:
            assert await uow.users.get_by_email(asked) == user
        with pytest.raises(EmailTaken):
            await add(unit_of_work, make_user(2, email=asked))
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
        winner = await race(EmailTaken, [add(unit_of_work, u) for u in users])
        async with unit_of_work() as uow:
            assert await uow.users.get_by_email("ada@example.com") == users[winner]

    async def test_a_saved_user_comes_back_as_it_was_saved(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Every field that a version may change."""
        user = make_user()
        await add(unit_of_work, user)
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
            await save(unit_of_work, version)
            assert await read_user(unit_of_work, user.id) == version

    async def test_saving_one_user_leaves_the_others_alone(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Their fields and their roles."""
        ada, bob = make_user(1), make_user(2)
        await add(unit_of_work, ada)
        await add(unit_of_work, bob)
        await save(unit_of_work, ada.with_roles(frozenset(), NOW))
        assert await read_user(unit_of_work, bob.id) == bob

    @pytest.mark.parametrize("version", [-1, 2, 3, 5, 6])
    async def test_a_save_of_another_version_than_the_next_is_stale(
        self, unit_of_work: UnitOfWorkFactory, version: int
    ) -> None:
        """Neither the same one, nor an older one, nor one that skips."""
        user = replace(make_user(), version=3)
        await add(unit_of_work, user)
        changed = replace(user, version=version, display_name="Ada")
        with pytest.raises(StaleUser):
            await save(unit_of_work, changed)
        assert await read_user(unit_of_work, user.id) == user

    async def test_a_save_of_a_user_who_is_not_stored_is_stale(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Nothing is created by it."""
        user = make_user().with_display_name("Ada", NOW)
        with pytest.raises(StaleUser):
            await save(unit_of_work, user)
        async with unit_of_work() as uow:
            assert await uow.users.get(user.id) is None

    async def test_of_concurrent_saves_of_one_user_version_one_succeeds(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The others are stale, and the winner is stored whole."""
        user = make_user()
        await add(unit_of_work, user)
        roles = (frozenset[Role](), frozenset({USER_ROLE}), frozenset({ADMIN_ROLE}))
        rivals = [
            replace(user.with_roles(roles[n % 3], NOW), display_name=str(n)) for n in range(RACERS)
        ]
        winner = await race(StaleUser, [save(unit_of_work, r) for r in rivals])
        assert await read_user(unit_of_work, user.id) == rivals[winner]

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
        await add(unit_of_work, replace(user, roles=claimed))
        assert await read_user(unit_of_work, user.id) == user
        user = user.with_roles(frozenset({USER_ROLE}), NOW)
        await save(unit_of_work, replace(user, roles=claimed))
        assert await read_user(unit_of_work, user.id) == user

    async def test_nobody_is_given_a_role_that_does_not_exist(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Neither a new user nor a stored one, and nothing else of the commit is applied."""
        ghostly = frozenset({USER_ROLE, Role("ghost", frozenset())})
        user, newcomer = make_user(1), make_user(2, roles=ghostly)
        await add(unit_of_work, user)
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


async def _put(unit_of_work: UnitOfWorkFactory, user: User) -> None:
    await (save if user.version else add)(unit_of_work, user)


def _microseconds_in_utc(*times: datetime | None) -> list[int]:
    microseconds = []
    for time in times:
        assert time is not None
        assert time.utcoffset() == timedelta(0)
        microseconds.append(time.microsecond)
    return microseconds
