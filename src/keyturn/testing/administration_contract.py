"""What every `UnitOfWork` must do for those who administer users and roles, as tests.

Used like `keyturn.testing.persistence_contract`, with the same fixture.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from keyturn.domain.errors import EmailTaken, LastAdministrator, StaleRole, StaleUser
from keyturn.domain.user import ADMIN_ROLE, BUILT_IN_ROLES, USER_ROLE, Role, User, UserStatus
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory, UserFilter
from keyturn.testing.builders import make_family, make_user
from keyturn.testing.extra import pytest
from keyturn.testing.steps import NOW, RACERS, ROGUE, add, commit, list_users, race

EDITOR = Role("editor", frozenset({"posts:delete", "posts:write"}))
ADMINS = frozenset({USER_ROLE, ADMIN_ROLE})


class AdministrationContract:
    """The contract of the lists of users, of roles, and of what concerns many users at once."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

    # Looking through the users

    async def test_users_are_listed_page_by_page_lowest_id_first(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Every one once, with their roles, whatever order they came in."""
        users = [make_user(n, roles=(ADMINS, frozenset[Role]())[n % 2]) for n in range(1, 8)]
        await add(unit_of_work, *users[::2], *users[1::2])
        assert await list_users(unit_of_work, limit=3) == users[:3]
        assert await list_users(unit_of_work, after=users[2].id, limit=3) == users[3:6]
        assert await list_users(unit_of_work, after=users[5].id, limit=3) == users[6:]
        assert await list_users(unit_of_work, after=users[6].id, limit=3) == []

    @pytest.mark.parametrize(
        ("part", "found"),
        [
            ("", {1, 2, 3, 4, 5}),
            ("@example.com", {1, 2, 3}),
            ("ADA", {1}),
            ("%", {2}),
            ("_", {3}),
            ("a%b", {2}),
            ("a_b", {3}),
            ("\\", {4}),
            ("/", {4}),
            ("zoe\u0308", {5}),
            ("STRASSE", {5}),
            ("nobody", set[int]()),
            ("a\x00", set[int]()),
            ("a\ud800", set[int]()),
        ],
    )
    async def test_users_are_found_by_a_part_of_their_address(
        self, unit_of_work: UnitOfWorkFactory, part: str, found: set[int]
    ) -> None:
        """Whatever its spelling, and with nothing in it that stands for anything else."""
        addresses = (
            "Ada@example.com",
            "a%b@example.com",
            "a_b@example.com",
            "c\\d/@example.org",
            "Zoë@straße.example",
        )
        users = {number: make_user(number, email=a) for number, a in enumerate(addresses, 1)}
        await add(unit_of_work, *users.values())
        page = await list_users(unit_of_work, UserFilter(email=part))
        assert page == [users[number] for number in sorted(found)]

    async def test_users_are_found_by_status_and_role(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Alone, together, and before the page is cut."""
        users = [
            make_user(
                number,
                status=(UserStatus.ACTIVE, UserStatus.DISABLED)[number % 2],
                roles=(ADMINS, frozenset({USER_ROLE}), frozenset[Role]())[number % 3],
            )
            for number in range(12)
        ]
        await add(unit_of_work, *users)
        disabled = UserFilter(status=UserStatus.DISABLED)
        assert await list_users(unit_of_work, disabled) == users[1::2]
        assert await list_users(unit_of_work, disabled, limit=2) == [users[1], users[3]]
        assert await list_users(unit_of_work, disabled, after=users[3].id) == users[5::2]
        assert await list_users(unit_of_work, UserFilter(role="admin")) == users[::3]
        assert await list_users(unit_of_work, UserFilter(role="ghost")) == []
        assert await list_users(unit_of_work, UserFilter(role="a\x00")) == []
        both = UserFilter(email="user", status=UserStatus.ACTIVE, role="admin")
        assert await list_users(unit_of_work, both) == users[::6]

    # Roles

    async def test_every_role_is_listed_by_name(self, unit_of_work: UnitOfWorkFactory) -> None:
        """Those that were there, and those that were added."""
        names = ["a-b", "ab", "a_b", "b"]
        for name in names:
            await _put(unit_of_work, _role(name))
        async with unit_of_work() as uow:
            assert [role.name for role in await uow.roles.list_all()] == sorted(
                [*names, *(role.name for role in BUILT_IN_ROLES)]
            )

    @pytest.mark.parametrize("permissions", [{"posts:write"}, set[str](), {ROGUE, "b", "a"}])
    async def test_a_role_comes_back_as_it_was_defined(
        self, unit_of_work: UnitOfWorkFactory, permissions: set[str]
    ) -> None:
        """New, and then changed."""
        changed = Role(EDITOR.name, frozenset(permissions), frozenset({"user", ROGUE}), 2)
        for role in (EDITOR, changed):
            await _put(unit_of_work, role)
            async with unit_of_work() as uow:
                assert await uow.roles.get_many(frozenset({EDITOR.name})) == {role}
                assert role in await uow.roles.list_all()

    async def test_what_a_role_permits_its_holders_have(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """From the commit on, however the user is read, and without another version of the user."""
        await _put(unit_of_work, EDITOR)
        user = make_user(roles=frozenset({EDITOR}))
        family = make_family(user)
        await add(unit_of_work, user)
        await commit(unit_of_work, lambda uow: uow.families.add(family))
        changed = Role(EDITOR.name, frozenset({"posts:read"}), frozenset({"user"}), 2)
        await _put(unit_of_work, changed)
        expected = replace(user, roles=frozenset({changed}))
        async with unit_of_work() as uow:
            assert await uow.users.get(user.id) == expected
            assert await uow.users.get_by_email(user.email) == expected
            assert await uow.families.get_with_user(family.id) == (family, expected)
            assert await uow.users.list_page(UserFilter(), after=None, limit=1) == [expected]

    async def test_a_role_that_ends_is_taken_from_everybody(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """From them alone, and defining it again gives it back to nobody."""
        await _put(unit_of_work, EDITOR)
        editor = make_user(1, roles=frozenset({USER_ROLE, EDITOR}))
        other = make_user(2)
        await add(unit_of_work, editor, other)
        await commit(unit_of_work, lambda uow: uow.roles.delete(EDITOR))
        async with unit_of_work() as uow:
            assert await uow.roles.get_many(frozenset({EDITOR.name})) == frozenset()
        await _put(unit_of_work, EDITOR)
        assert await list_users(unit_of_work) == [
            replace(editor, roles=frozenset({USER_ROLE})),
            other,
        ]

    @pytest.mark.parametrize(
        "stage",
        [
            pytest.param(lambda uow, role: uow.roles.put(role), id="put"),
            pytest.param(lambda uow, role: uow.roles.delete(role), id="delete"),
            pytest.param(
                lambda uow, role: uow.roles.require_unchanged(frozenset({USER_ROLE, role})),
                id="require unchanged",
            ),
        ],
    )
    @pytest.mark.parametrize(("stored", "version"), [(0, 3), (2, 1), (2, 4), (2, 9)], ids=str)
    async def test_a_write_based_on_another_version_of_a_role_is_stale(
        self,
        unit_of_work: UnitOfWorkFactory,
        stage: Callable[[UnitOfWork, Role], None],
        stored: int,
        version: int,
    ) -> None:
        """`StaleRole`, also if no such role is stored; nothing of the commit is applied."""
        for number in range(1, stored + 1):
            await _put(unit_of_work, replace(EDITOR, version=number))
        async with unit_of_work() as uow:
            before = await uow.roles.list_all()

        def stage_all(uow: UnitOfWork) -> None:
            uow.users.add(make_user())
            stage(uow, replace(_role(EDITOR.name), version=version))

        with pytest.raises(StaleRole):
            await commit(unit_of_work, stage_all)
        async with unit_of_work() as uow:
            assert await uow.roles.list_all() == before
        assert await list_users(unit_of_work) == []

    async def test_a_role_that_is_unchanged_lets_the_commit_pass(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """No role at all is no condition."""
        for roles in (frozenset(BUILT_IN_ROLES), frozenset[Role]()):
            await commit(unit_of_work, partial(_require_unchanged, roles))

    @pytest.mark.parametrize("version", [1, 2], ids=["new", "next"])
    async def test_of_concurrent_puts_of_one_version_of_a_role_one_succeeds(
        self, unit_of_work: UnitOfWorkFactory, version: int
    ) -> None:
        """The others are stale, and the role is that of the winner."""
        if version > 1:
            await _put(unit_of_work, EDITOR)
        rivals = [
            Role(EDITOR.name, frozenset({f"posts:{number}x"}), version=version)
            for number in range(RACERS)
        ]
        winner = await race(StaleRole, [_put(unit_of_work, rival) for rival in rivals])
        async with unit_of_work() as uow:
            assert await uow.roles.get_many(frozenset({EDITOR.name})) == {rivals[winner]}

    async def test_a_change_of_a_role_races_those_who_need_it_unchanged(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Whoever gets through after the change saw it: their commit is stale."""
        await _put(unit_of_work, EDITOR)
        users = [make_user(number) for number in range(1, RACERS + 1)]
        committed: list[str] = []

        async def change() -> None:
            await _put(unit_of_work, replace(_role(EDITOR.name), version=2))
            committed.append("change")

        async def rely(user: User) -> None:
            async with unit_of_work() as uow:
                uow.roles.require_unchanged(frozenset({EDITOR}))
                uow.users.add(user)
                await uow.commit()

        outcomes = await asyncio.gather(
            *map(rely, users[::2]), change(), *map(rely, users[1::2]), return_exceptions=True
        )
        assert committed == ["change"]
        assert all(outcome is None or isinstance(outcome, StaleRole) for outcome in outcomes)
        with pytest.raises(StaleRole):
            await rely(make_user(RACERS + 1))

    async def test_roles_are_staged_with_everything_else(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Invisible before the commit, applied in order, and undone with the rest."""
        user = make_user(roles=frozenset({EDITOR}))
        async with unit_of_work() as uow:
            uow.roles.put(EDITOR)
            uow.users.add(user)
            assert await uow.roles.get_many(frozenset({EDITOR.name})) == frozenset()
            await uow.commit()
        assert await list_users(unit_of_work) == [user]

        def stage(uow: UnitOfWork) -> None:
            uow.roles.put(_role("reviewer"))
            uow.roles.put(Role(EDITOR.name, frozenset(), version=2))
            uow.roles.delete(USER_ROLE)
            uow.users.add(make_user(2, email=user.email, roles=frozenset()))

        with pytest.raises(EmailTaken):
            await commit(unit_of_work, stage)
        async with unit_of_work() as uow:
            roles = frozenset(await uow.roles.list_all())
        assert roles == {*BUILT_IN_ROLES, EDITOR}

    # Somebody must hold a role

    @pytest.mark.parametrize("early", [True, False])
    @pytest.mark.parametrize(
        "fall",
        [
            pytest.param(lambda user: user.with_roles(frozenset({USER_ROLE}), NOW), id="demoted"),
            pytest.param(lambda user: user.with_status(UserStatus.DISABLED, NOW), id="disabled"),
        ],
    )
    async def test_the_last_active_holder_stays(
        self, unit_of_work: UnitOfWorkFactory, fall: Callable[[User], User], early: bool
    ) -> None:
        """It is looked at when all else is applied, whenever it was staged; and all is undone."""
        admin, former = make_user(1, roles=ADMINS), make_user(2, roles=ADMINS)
        former = replace(former, status=UserStatus.DISABLED)
        await add(unit_of_work, admin, former, make_user(3))

        def stage(uow: UnitOfWork) -> None:
            if early:
                uow.users.require_holder(ADMIN_ROLE.name)
            uow.users.save(fall(admin))
            if not early:
                uow.users.require_holder(ADMIN_ROLE.name)
            uow.users.add(make_user(4))

        with pytest.raises(LastAdministrator):
            await commit(unit_of_work, stage)
        assert await list_users(unit_of_work) == [admin, former, make_user(3)]

    async def test_who_is_not_the_last_holder_may_go(self, unit_of_work: UnitOfWorkFactory) -> None:
        """A successor in the same commit is enough."""
        admin, successor = make_user(1, roles=ADMINS), make_user(2)
        await add(unit_of_work, admin, successor)
        demoted = admin.with_roles(frozenset({USER_ROLE}), NOW)
        promoted = successor.with_roles(ADMINS, NOW)

        def stage(uow: UnitOfWork) -> None:
            uow.users.save(demoted)
            uow.users.require_holder(ADMIN_ROLE.name)
            uow.users.save(promoted)

        await commit(unit_of_work, stage)
        assert await list_users(unit_of_work) == [demoted, promoted]

    async def test_a_role_that_does_not_exist_has_no_holder(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Asking for one fails the commit."""
        await add(unit_of_work, make_user())
        with pytest.raises(LastAdministrator):
            await commit(unit_of_work, lambda uow: uow.users.require_holder("ghost"))

    async def test_of_commits_that_would_leave_no_holder_one_fails(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Each demotes another of them at the same time."""
        admins = [make_user(n, roles=ADMINS) for n in range(1, RACERS + 1)]
        await add(unit_of_work, *admins)

        def demote(admin: User) -> Callable[[UnitOfWork], None]:
            def stage(uow: UnitOfWork) -> None:
                uow.users.save(admin.with_roles(frozenset({USER_ROLE}), NOW))
                uow.users.require_holder(ADMIN_ROLE.name)

            return stage

        outcomes = await asyncio.gather(
            *(commit(unit_of_work, demote(admin)) for admin in admins), return_exceptions=True
        )
        failed = [number for number, outcome in enumerate(outcomes) if outcome is not None]
        assert [type(outcomes[number]) for number in failed] == [LastAdministrator]
        left = await list_users(unit_of_work, UserFilter(role=ADMIN_ROLE.name))
        assert left == [admins[failed[0]]]

    # Everybody who holds a role

    async def test_the_epochs_of_all_holders_can_be_raised(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Active or not, by one; the others stay as they are."""
        admins = [
            make_user(1, roles=ADMINS),
            make_user(2, roles=ADMINS, status=UserStatus.DISABLED),
            replace(make_user(3, roles=ADMINS), epoch=5, version=9),
        ]
        other = make_user(4)
        await add(unit_of_work, *admins, other)
        await commit(unit_of_work, lambda uow: uow.users.raise_epochs(ADMIN_ROLE.name, NOW))
        raised = [admin.logged_out_everywhere(NOW) for admin in admins]
        assert await list_users(unit_of_work) == [*raised, other]

    async def test_epochs_are_raised_of_those_who_hold_the_role_at_the_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Not at the staging."""
        former, newer = make_user(1, roles=ADMINS), make_user(2)
        await add(unit_of_work, former, newer)
        demoted = former.with_roles(frozenset({USER_ROLE}), NOW)
        promoted = newer.with_roles(ADMINS, NOW)
        async with unit_of_work() as uow:
            uow.users.raise_epochs(ADMIN_ROLE.name, NOW)
            async with unit_of_work() as other:
                other.users.save(demoted)
                other.users.save(promoted)
                await other.commit()
            await uow.commit()
        assert await list_users(unit_of_work) == [demoted, promoted.logged_out_everywhere(NOW)]

    async def test_what_was_read_before_the_epochs_were_raised_is_stale(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Saving it would take the role's end back."""
        user = make_user()
        await add(unit_of_work, user)
        await commit(unit_of_work, lambda uow: uow.users.raise_epochs(USER_ROLE.name, NOW))
        with pytest.raises(StaleUser):
            await commit(unit_of_work, lambda uow: uow.users.save(user.logged_out_elsewhere()))

    async def test_no_race_with_changes_of_its_holders_loses_a_raise(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Each change of a user succeeds or is stale, and every raise counts."""
        users = [make_user(number) for number in range(1, 6)]
        await add(unit_of_work, *users)

        def save(user: User) -> Callable[[UnitOfWork], None]:
            return lambda uow: uow.users.save(user.with_roles(ADMINS, NOW))

        def raise_all(uow: UnitOfWork) -> None:
            uow.users.raise_epochs(USER_ROLE.name, NOW)

        outcomes = await asyncio.gather(
            *(commit(unit_of_work, stage) for user in users for stage in (save(user), raise_all)),
            return_exceptions=True,
        )
        assert outcomes[1::2] == [None] * len(users)
        assert all(outcome is None or isinstance(outcome, StaleUser) for outcome in outcomes)
        for user, outcome in zip(await list_users(unit_of_work), outcomes[::2], strict=True):
            assert user.epoch == user.version == len(users) + (outcome is None)
            assert user.roles == (ADMINS if outcome is None else {USER_ROLE})


def _role(name: str) -> Role:
    return Role(name, frozenset({"posts:read"}))


async def _put(unit_of_work: UnitOfWorkFactory, role: Role) -> None:
    await commit(unit_of_work, lambda uow: uow.roles.put(role))


def _require_unchanged(roles: frozenset[Role], uow: UnitOfWork) -> None:
    uow.roles.require_unchanged(roles)
