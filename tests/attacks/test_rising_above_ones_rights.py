"""An attacker holds some rights in the administration and wants those of others.

Every administrative use-case is tried by every kind of actor on every kind of target. A use-case that
takes an actor and has no row here fails the first test.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import get_type_hints

import pytest

from keyturn import use_cases
from keyturn.adapters.memory.unit_of_work import MemoryUnitOfWork
from keyturn.domain.errors import PermissionDenied, RoleChanged
from keyturn.domain.principal import Principal
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, Role, User, UserStatus
from keyturn.testing.builders import make_principal
from keyturn.testing.in_memory import PASSWORD, InMemoryKeyturn
from keyturn.use_cases.assign_roles import AssignRolesCommand
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.delete_role import DeleteRoleCommand
from keyturn.use_cases.end_session import EndSessionCommand
from keyturn.use_cases.erase_user import EraseUserCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand

HELPDESK = frozenset(
    {"users:read", "users:write", "roles:assign", "roles:write", "sessions:revoke"}
)
"""What the roles of the actors permit beside what every user may do."""

ROLES = {
    "helpdesk": Role("helpdesk", HELPDESK),
    # A name that is a right, and permits nothing.
    "billing-admin": Role("billing-admin", frozenset()),
    "lead": Role("lead", HELPDESK),
    "support": Role("support", frozenset(), assignable_by=frozenset({"lead"})),
    "auditor": Role("auditor", frozenset({"audit:read"})),
    "every-permission": Role("every-permission", ADMIN_ROLE.permissions),
}

TARGETS: dict[str, frozenset[str]] = {
    "nobody": frozenset(),
    "a user": frozenset({"user"}),
    "a colleague": frozenset({"user", "helpdesk"}),
    "support": frozenset({"user", "support"}),
    "an auditor": frozenset({"user", "auditor"}),
    "a billing admin": frozenset({"user", "billing-admin"}),
    "a deputy": frozenset({"user", "every-permission"}),
    "an administrator": frozenset({"user", "admin"}),
}

REACH: dict[str, frozenset[str]] = {
    "helpdesk": frozenset({"nobody", "a user", "a colleague"}),
    "lead": frozenset({"nobody", "a user", "support"}),
    "every-permission": frozenset({"nobody", "a user", "a deputy"}),
    "admin": frozenset(TARGETS),
}
"""On whom the holder of a role (and of `user`) may act, besides themselves."""


@dataclass(frozen=True)
class Scene:
    """A service with an actor and a target of each kind."""

    keyturn: InMemoryKeyturn
    actor: Principal
    target: User

    @property
    def stored(self) -> User | None:
        return self.keyturn.store.user(self.target.id)


Act = Callable[[Scene], Awaitable[None]]


async def rename(scene: Scene) -> None:
    await scene.keyturn.change_user.execute(
        ChangeUserCommand(scene.target.id, scene.actor, rename=True, display_name="Eve")
    )


async def disable(scene: Scene) -> None:
    await scene.keyturn.change_user.execute(
        ChangeUserCommand(scene.target.id, scene.actor, status=UserStatus.DISABLED)
    )


async def enable(scene: Scene) -> None:
    user = scene.keyturn.store.users[scene.target.id]
    disabled = user.with_status(UserStatus.DISABLED, scene.keyturn.clock.now())
    scene.keyturn.store.users[user.id] = disabled
    await scene.keyturn.change_user.execute(
        ChangeUserCommand(scene.target.id, scene.actor, status=UserStatus.ACTIVE)
    )


async def erase(scene: Scene) -> None:
    await scene.keyturn.erase_user.execute(EraseUserCommand(scene.target.id, scene.actor))


async def keep_all_roles(scene: Scene) -> None:
    await scene.keyturn.assign_roles.execute(
        AssignRolesCommand(scene.target.id, scene.target.role_names, scene.actor)
    )


async def end_all_sessions(scene: Scene) -> None:
    await scene.keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(scene.target.id, scene.actor)
    )


async def end_one_session(scene: Scene) -> None:
    [family] = [
        each for each in scene.keyturn.store.families.values() if each.user_id == scene.target.id
    ]
    await scene.keyturn.end_session.execute(
        EndSessionCommand(scene.target.id, family.id, scene.actor)
    )


ON_USERS: dict[str, Act] = {
    act.__name__: act
    for act in (
        rename,
        disable,
        enable,
        erase,
        keep_all_roles,
        end_all_sessions,
        end_one_session,
    )
}
ACTING_ON_USERS = {
    ChangeUserCommand,
    EraseUserCommand,
    AssignRolesCommand,
    RevokeAllFamiliesCommand,
    EndSessionCommand,
}
ACTING_ON_ROLES = {DefineRoleCommand, DeleteRoleCommand}


async def arrive(
    keyturn: InMemoryKeyturn, email: str, roles: frozenset[str], *, scope: frozenset[str] | None
) -> tuple[User, Principal]:
    user = await keyturn.register_user.execute(
        RegisterUserCommand(email, PASSWORD, roles=roles, email_is_verified=True)
    )
    tokens = await keyturn.login(email)
    return user, make_principal(user.id, tokens.session_id, scope=scope)


async def scene_of(
    role: str, target: str, *, scope: frozenset[str] | None = None, itself: bool = False
) -> Scene:
    keyturn = InMemoryKeyturn()
    for each in ROLES.values():
        keyturn.store.roles[each.name] = each
    # Somebody else must hold the role, or the last administrator is what keeps it.
    await arrive(keyturn, "root@example.com", frozenset({"admin"}), scope=None)
    actor, principal = await arrive(
        keyturn, "actor@example.com", frozenset({"user", role}), scope=scope
    )
    if itself:
        return Scene(keyturn, principal, actor)
    user, _ = await arrive(keyturn, "target@example.com", TARGETS[target], scope=None)
    return Scene(keyturn, principal, user)


def test_no_administrative_use_case_escapes_the_matrix() -> None:
    taking_an_actor = set()
    for module in iter_modules(use_cases.__path__):
        for _, command in inspect.getmembers(
            import_module(f"keyturn.use_cases.{module.name}"), inspect.isclass
        ):
            if (
                command.__module__ == f"keyturn.use_cases.{module.name}"
                and is_dataclass(command)
                and "actor" in {each.name for each in fields(command)}
            ):
                assert get_type_hints(command)["actor"] == Principal | None
                taking_an_actor.add(command)
    assert taking_an_actor == ACTING_ON_USERS | ACTING_ON_ROLES


@pytest.mark.parametrize("act", ON_USERS.values(), ids=ON_USERS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("role", REACH)
async def test_an_attacker_can_not_act_on_a_user_who_has_more_rights(
    role: str, target: str, act: Act
) -> None:
    scene = await scene_of(role, target)
    if target in REACH[role]:
        await act(scene)
        return
    before, sessions = scene.stored, dict(scene.keyturn.store.families)
    with pytest.raises(PermissionDenied):
        await act(scene)
    after = scene.stored
    assert before is not None
    assert after is not None
    assert (after.roles, after.display_name) == (before.roles, before.display_name)
    assert scene.keyturn.store.families == sessions
    if act is not enable:
        assert after == before


@pytest.mark.parametrize("act", ON_USERS.values(), ids=ON_USERS)
async def test_an_attacker_gains_nothing_by_a_target_that_is_disabled(act: Act) -> None:
    scene = await scene_of("helpdesk", "an administrator")
    disabled = scene.target.with_status(UserStatus.DISABLED, scene.keyturn.clock.now())
    scene.keyturn.store.users[scene.target.id] = disabled
    with pytest.raises(PermissionDenied):
        await act(scene)


@pytest.mark.parametrize("act", ON_USERS.values(), ids=ON_USERS)
async def test_an_attacker_with_a_limited_token_of_an_administrator_is_none(act: Act) -> None:
    scope = HELPDESK | USER_ROLE.permissions
    for target in ("a colleague", "a billing admin", "an administrator"):
        with pytest.raises(PermissionDenied):
            await act(await scene_of("admin", target, scope=scope))
    await act(await scene_of("admin", "a user", scope=scope))


@pytest.mark.parametrize("act", ON_USERS.values(), ids=ON_USERS)
async def test_an_attacker_without_the_permission_acts_on_nobody(act: Act) -> None:
    with pytest.raises(PermissionDenied):
        await act(await scene_of("support", "nobody"))


@pytest.mark.parametrize("role", REACH)
async def test_everybody_may_still_act_on_themselves(role: str) -> None:
    await rename(await scene_of(role, "", itself=True))


@pytest.mark.parametrize("taken", ["billing-admin", "support", "auditor", "admin"])
@pytest.mark.parametrize("itself", [True, False])
async def test_an_attacker_is_not_granted_a_role_that_is_not_theirs_to_assign(
    taken: str, itself: bool
) -> None:
    scene = await scene_of("helpdesk", "a user", itself=itself)
    with pytest.raises(PermissionDenied):
        await scene.keyturn.assign_roles.execute(
            AssignRolesCommand(
                scene.target.id, scene.target.role_names | {taken}, actor=scene.actor
            )
        )
    assert scene.stored == scene.target.with_roles(scene.target.roles, scene.target.updated_at) or (
        scene.stored is not None and scene.stored.role_names == scene.target.role_names
    )


async def test_a_role_is_granted_and_taken_by_holders_of_a_role_that_it_names() -> None:
    scene = await scene_of("lead", "a user")
    for roles in (frozenset({"user", "support"}), frozenset({"user"})):
        changed = await scene.keyturn.assign_roles.execute(
            AssignRolesCommand(scene.target.id, roles, actor=scene.actor)
        )
        assert changed.role_names == roles


async def test_an_attacker_can_not_take_a_role_that_is_not_theirs_to_assign() -> None:
    # Of themselves, whom they may act on.
    scene = await scene_of("helpdesk", "", itself=True)
    keyturn = scene.keyturn
    both = frozenset({ROLES["helpdesk"], USER_ROLE, ROLES["support"]})
    user = keyturn.store.users[scene.target.id]
    keyturn.store.users[user.id] = user.with_roles(both, keyturn.clock.now())
    # They hold it, so they may drop it.
    changed = await keyturn.assign_roles.execute(
        AssignRolesCommand(user.id, frozenset({"user", "helpdesk"}), actor=scene.actor)
    )
    assert "support" not in changed.role_names
    with pytest.raises(PermissionDenied):
        await keyturn.assign_roles.execute(
            AssignRolesCommand(user.id, frozenset({"user", "helpdesk", "support"}), scene.actor)
        )


@pytest.mark.parametrize(
    "permissions",
    [
        pytest.param(frozenset({"audit:read", "users:read"}), id="adds one that they hold"),
        pytest.param(frozenset(), id="removes one that they do not hold"),
        pytest.param(frozenset({"posts:delete"}), id="replaces one by another"),
    ],
)
async def test_an_attacker_changes_no_permission_that_they_do_not_hold(
    permissions: frozenset[str],
) -> None:
    scene = await scene_of("helpdesk", "a user")
    with pytest.raises(PermissionDenied):
        await scene.keyturn.define_role.execute(
            DefineRoleCommand("auditor", permissions, actor=scene.actor)
        )
    assert scene.keyturn.store.roles["auditor"] == ROLES["auditor"]


@pytest.mark.parametrize("name", ["auditor", "billing-admin", "support"])
async def test_an_attacker_deletes_no_role_that_is_not_theirs_to_assign(name: str) -> None:
    scene = await scene_of("helpdesk", "a user")
    with pytest.raises(PermissionDenied):
        await scene.keyturn.delete_role.execute(DeleteRoleCommand(name, actor=scene.actor))
    assert name in scene.keyturn.store.roles


@pytest.mark.parametrize("name", ["helpdesk", "billing-admin", "new"])
async def test_an_attacker_does_not_say_who_may_assign_a_role(name: str) -> None:
    for role in ("helpdesk", "every-permission"):
        scene = await scene_of(role, "a user")
        permissions = ROLES[name].permissions if name in ROLES else frozenset[str]()
        with pytest.raises(PermissionDenied):
            await scene.keyturn.define_role.execute(
                DefineRoleCommand(
                    name, permissions, actor=scene.actor, assignable_by=frozenset({role})
                )
            )


async def test_a_change_of_permissions_keeps_who_may_assign_the_role() -> None:
    scene = await scene_of("admin", "a user")
    changed = await scene.keyturn.define_role.execute(
        DefineRoleCommand("support", frozenset({"users:read"}), actor=scene.actor)
    )
    assert changed.assignable_by == {"lead"}


async def test_an_attacker_gains_nothing_by_a_role_that_grows_while_it_is_granted() -> None:
    scene = await scene_of("helpdesk", "a user")
    keyturn = scene.keyturn
    read, grown = asyncio.Event(), asyncio.Event()

    class Slow(MemoryUnitOfWork):
        async def commit(self) -> None:
            if not grown.is_set():
                read.set()
                await grown.wait()
            await super().commit()

    slow = InMemoryKeyturn(unit_of_work=lambda: Slow(keyturn.store, keyturn.revocations.apply))
    granting = asyncio.ensure_future(
        slow.assign_roles.execute(
            AssignRolesCommand(scene.target.id, frozenset({"user", "helpdesk"}), scene.actor)
        )
    )
    await read.wait()
    # The actor holds the role too; but what they hold now is judged again.
    await keyturn.assign_roles.execute(
        AssignRolesCommand(scene.actor.user_id, frozenset({"user", "lead"}), actor=None)
    )
    await keyturn.define_role.execute(
        DefineRoleCommand("helpdesk", HELPDESK | {"audit:read"}, actor=None)
    )
    grown.set()
    with pytest.raises(PermissionDenied):
        await granting
    assert keyturn.store.users[scene.target.id].role_names == {"user"}


async def test_an_attacker_brings_no_permission_back_by_an_overwritten_role() -> None:
    """Two writers at once: the second one decided by what the first one has replaced."""
    for _ in range(5):
        scene = await scene_of("helpdesk", "a user")
        keyturn = scene.keyturn
        old = frozenset({"users:read", "users:write"})
        await keyturn.define_role.execute(DefineRoleCommand("team", old, actor=None))
        outcomes = await asyncio.gather(
            keyturn.define_role.execute(
                DefineRoleCommand("team", frozenset({"audit:read"}), actor=None)
            ),
            keyturn.define_role.execute(
                DefineRoleCommand("team", old | {"roles:write"}, actor=scene.actor)
            ),
            return_exceptions=True,
        )
        lost = [outcome for outcome in outcomes if not isinstance(outcome, Role)]
        assert [type(outcome) for outcome in lost] in ([RoleChanged], [PermissionDenied])
        won = [outcome for outcome in outcomes if isinstance(outcome, Role)]
        assert keyturn.store.roles["team"] == won[0]
