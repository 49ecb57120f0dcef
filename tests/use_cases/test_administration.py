"""An administrator runs the service, and nobody grants what they do not hold."""

import asyncio
from dataclasses import replace

import pytest

from keyturn.domain.errors import (
    InvalidAccessToken,
    InvalidRefreshToken,
    InvalidRole,
    LastAdministrator,
    PermissionDenied,
    RoleNotFound,
    RoleProtected,
    UserNotFound,
)
from keyturn.domain.ids import UserId
from keyturn.domain.principal import Principal
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, User, UserStatus
from keyturn.ports.persistence import UserFilter
from keyturn.testing.in_memory import PASSWORD, InMemoryKeyturn
from keyturn.use_cases.assign_roles import AssignRolesCommand
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.delete_role import DeleteRoleCommand
from keyturn.use_cases.list_users import ListUsersQuery
from keyturn.use_cases.register_user import RegisterUserCommand

ADMIN = frozenset({ADMIN_ROLE.name})
BOTH = frozenset({ADMIN_ROLE.name, USER_ROLE.name})


async def administrator(keyturn: InMemoryKeyturn, email: str = "root@example.com") -> Principal:
    await keyturn.register_user.execute(
        RegisterUserCommand(email, PASSWORD, roles=BOTH, email_is_verified=True)
    )
    tokens = await keyturn.login(email)
    return keyturn.authenticate_access.execute(tokens.access_token)


async def helper(keyturn: InMemoryKeyturn, *permissions: str) -> Principal:
    await keyturn.define_role.execute(
        DefineRoleCommand("helper", frozenset(permissions), actor=None)
    )
    await keyturn.register_user.execute(
        RegisterUserCommand("helper@example.com", PASSWORD, roles=frozenset({"helper"}))
    )
    tokens = await keyturn.login("helper@example.com")
    return keyturn.authenticate_access.execute(tokens.access_token)


async def test_an_administrator_assigns_roles_and_the_user_has_them(
    keyturn: InMemoryKeyturn,
) -> None:
    root, user = await administrator(keyturn), await keyturn.register(verified=True)
    changed = await keyturn.assign_roles.execute(AssignRolesCommand(user.id, BOTH, root))
    assert changed.role_names == BOTH
    assert await keyturn.get_user.execute(user.id) == changed


async def test_a_permission_that_the_actor_lacks_is_not_granted(keyturn: InMemoryKeyturn) -> None:
    actor, user = await helper(keyturn, "roles:assign"), await keyturn.register()
    with pytest.raises(PermissionDenied):
        await keyturn.assign_roles.execute(AssignRolesCommand(user.id, ADMIN, actor))
    assert keyturn.store.users[user.id].role_names == {"user"}


async def test_nobody_promotes_themselves(keyturn: InMemoryKeyturn) -> None:
    actor = await helper(keyturn, "roles:assign")
    with pytest.raises(PermissionDenied):
        await keyturn.assign_roles.execute(AssignRolesCommand(actor.user_id, ADMIN, actor))


async def test_all_permissions_of_the_role_admin_are_not_enough_to_hand_it_on(
    keyturn: InMemoryKeyturn,
) -> None:
    actor, user = await helper(keyturn, *ADMIN_ROLE.permissions), await keyturn.register()
    for promoted in (actor.user_id, user.id):
        with pytest.raises(PermissionDenied):
            await keyturn.assign_roles.execute(AssignRolesCommand(promoted, BOTH, actor))


async def test_who_is_no_administrator_changes_no_role_of_one(keyturn: InMemoryKeyturn) -> None:
    root, actor = await administrator(keyturn), await helper(keyturn, "roles:assign")
    with pytest.raises(PermissionDenied):
        await keyturn.assign_roles.execute(AssignRolesCommand(root.user_id, ADMIN, actor))
    assert keyturn.store.users[root.user_id].role_names == BOTH


async def test_a_demoted_administrator_assigns_nothing_by_an_older_token(
    keyturn: InMemoryKeyturn,
) -> None:
    root = await administrator(keyturn)
    other = await administrator(keyturn, "other@example.com")
    await keyturn.assign_roles.execute(AssignRolesCommand(root.user_id, frozenset({"user"}), other))
    with pytest.raises(PermissionDenied):
        await keyturn.assign_roles.execute(AssignRolesCommand(root.user_id, ADMIN, root))


async def test_a_disabled_administrator_changes_nothing(keyturn: InMemoryKeyturn) -> None:
    root = await administrator(keyturn)
    other = await administrator(keyturn, "other@example.com")
    await keyturn.change_user.execute(
        ChangeUserCommand(root.user_id, other, status=UserStatus.DISABLED)
    )
    with pytest.raises(InvalidAccessToken):
        await keyturn.define_role.execute(DefineRoleCommand("r", frozenset(), root))


async def test_a_token_of_narrower_scope_grants_no_more_than_its_scope(
    keyturn: InMemoryKeyturn,
) -> None:
    root, user = await administrator(keyturn), await keyturn.register()
    narrow = replace(root, scope=frozenset({"roles:assign"}))
    with pytest.raises(PermissionDenied):
        await keyturn.assign_roles.execute(AssignRolesCommand(user.id, ADMIN, narrow))


async def test_an_unknown_role_or_user_is_not_found(keyturn: InMemoryKeyturn) -> None:
    root, user = await administrator(keyturn), await keyturn.register()
    with pytest.raises(RoleNotFound):
        await keyturn.assign_roles.execute(AssignRolesCommand(user.id, frozenset({"nobody"}), root))
    keyturn.store.users.pop(user.id)
    with pytest.raises(UserNotFound):
        await keyturn.assign_roles.execute(AssignRolesCommand(user.id, BOTH, root))
    with pytest.raises(UserNotFound):
        await keyturn.change_user.execute(ChangeUserCommand(user.id, root))
    with pytest.raises(UserNotFound):
        await keyturn.get_user.execute(user.id)


async def test_the_last_administrator_is_neither_demoted_nor_disabled(
    keyturn: InMemoryKeyturn,
) -> None:
    root = await administrator(keyturn)
    with pytest.raises(LastAdministrator):
        await keyturn.assign_roles.execute(
            AssignRolesCommand(root.user_id, frozenset({"user"}), root)
        )
    with pytest.raises(LastAdministrator):
        await keyturn.change_user.execute(
            ChangeUserCommand(root.user_id, root, status=UserStatus.DISABLED)
        )
    assert keyturn.store.users[root.user_id].is_active


async def test_two_administrators_who_demote_each_other_at_once_do_not_both_succeed(
    keyturn: InMemoryKeyturn,
) -> None:
    one = await administrator(keyturn)
    two = await administrator(keyturn, "other@example.com")
    none = frozenset({"user"})
    await asyncio.gather(
        keyturn.assign_roles.execute(AssignRolesCommand(two.user_id, none, one)),
        keyturn.assign_roles.execute(AssignRolesCommand(one.user_id, none, two)),
        return_exceptions=True,
    )
    assert any("admin" in user.role_names for user in keyturn.store.users.values())


async def test_a_disabled_user_loses_sessions_and_an_enabled_one_can_log_in_again(
    keyturn: InMemoryKeyturn,
) -> None:
    root, user = await administrator(keyturn), await keyturn.register()
    tokens = await keyturn.login()
    await keyturn.change_user.execute(ChangeUserCommand(user.id, root, status=UserStatus.DISABLED))
    assert keyturn.store.families[tokens.session_id].revoke_reason is RevokeReason.USER_DISABLED
    await keyturn.change_user.execute(ChangeUserCommand(user.id, root, status=UserStatus.ACTIVE))
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)
    await keyturn.login()


async def test_a_change_that_changes_nothing_leaves_the_tokens_alone(
    keyturn: InMemoryKeyturn,
) -> None:
    root, user = await administrator(keyturn), await keyturn.register()
    for command in (
        ChangeUserCommand(user.id, root),
        ChangeUserCommand(user.id, root, status=UserStatus.ACTIVE),
        ChangeUserCommand(user.id, root, rename=True, display_name=None),
    ):
        assert await keyturn.change_user.execute(command) == user
    assert (
        await keyturn.assign_roles.execute(AssignRolesCommand(user.id, user.role_names, root))
        == user
    )


async def test_an_administrator_renames_a_user(keyturn: InMemoryKeyturn) -> None:
    root, user = await administrator(keyturn), await keyturn.register()
    changed = await keyturn.change_user.execute(
        ChangeUserCommand(user.id, root, rename=True, display_name="Countess")
    )
    assert (changed.display_name, changed.epoch) == ("Countess", user.epoch)


async def test_a_role_permits_nothing_that_its_author_does_not_hold(
    keyturn: InMemoryKeyturn,
) -> None:
    actor = await helper(keyturn, "roles:write", "posts:write")
    await keyturn.define_role.execute(
        DefineRoleCommand("writer", frozenset({"posts:write"}), actor)
    )
    with pytest.raises(PermissionDenied):
        await keyturn.define_role.execute(
            DefineRoleCommand("writer", frozenset({"posts:write", "posts:delete"}), actor)
        )
    with pytest.raises(PermissionDenied):
        await keyturn.define_role.execute(
            DefineRoleCommand("helper", ADMIN_ROLE.permissions, actor)
        )


async def test_an_administrator_brings_new_permissions_into_being_and_hands_them_on(
    keyturn: InMemoryKeyturn,
) -> None:
    root, user = await administrator(keyturn), await keyturn.register()
    await keyturn.define_role.execute(
        DefineRoleCommand("editor", frozenset({"posts:delete"}), root)
    )
    changed = await keyturn.assign_roles.execute(
        AssignRolesCommand(user.id, frozenset({"user", "editor"}), root)
    )
    assert "posts:delete" in changed.permissions


async def test_the_role_admin_keeps_what_is_built_in(keyturn: InMemoryKeyturn) -> None:
    root = await administrator(keyturn)
    with pytest.raises(RoleProtected):
        await keyturn.define_role.execute(
            DefineRoleCommand("admin", frozenset({"users:read"}), root)
        )
    for name in ("admin", "user"):
        with pytest.raises(RoleProtected):
            await keyturn.delete_role.execute(DeleteRoleCommand(name, root))


@pytest.mark.parametrize(
    ("name", "permission"),
    [("Writer", "a:b"), ("", "a:b"), ("w,x", "a:b"), ("w", "posts"), ("w", "a: b"), ("w", "a:b:c")],
)
async def test_a_malformed_name_is_refused(
    keyturn: InMemoryKeyturn, name: str, permission: str
) -> None:
    with pytest.raises(InvalidRole):
        await keyturn.define_role.execute(
            DefineRoleCommand(name, frozenset({permission}), actor=None)
        )


async def test_a_deleted_role_is_taken_from_everybody(keyturn: InMemoryKeyturn) -> None:
    root = await administrator(keyturn)
    actor = await helper(keyturn, "posts:write")
    await keyturn.delete_role.execute(DeleteRoleCommand("helper", root))
    user = await keyturn.get_user.execute(actor.user_id)
    assert user.roles == frozenset()
    with pytest.raises(RoleNotFound):
        await keyturn.delete_role.execute(DeleteRoleCommand("helper", root))
    with pytest.raises(RoleNotFound):
        await keyturn.list_roles.one("helper")


async def test_users_are_listed_page_by_page_without_gaps_or_repetitions(
    keyturn: InMemoryKeyturn,
) -> None:
    users = [await keyturn.register(f"user{n}@example.com") for n in range(7)]
    seen: list[User] = []
    after = None
    while True:
        page = await keyturn.list_users.execute(ListUsersQuery(after=after, limit=3))
        seen += page.users
        if (after := page.next_after) is None:
            break
    assert seen == users


async def test_users_are_found_by_a_part_of_the_address_a_role_and_a_status(
    keyturn: InMemoryKeyturn,
) -> None:
    root, ada = await administrator(keyturn), await keyturn.register()
    await keyturn.set_status(ada, UserStatus.DISABLED)

    async def found(which: UserFilter) -> set[UserId]:
        page = await keyturn.list_users.execute(ListUsersQuery(which))
        return {user.id for user in page.users}

    assert await found(UserFilter()) == {ada.id, root.user_id}
    assert await found(UserFilter(email="ADA@")) == {ada.id}
    assert await found(UserFilter(email="%")) == set()
    assert await found(UserFilter(role="admin")) == {root.user_id}
    assert await found(UserFilter(status=UserStatus.DISABLED)) == {ada.id}


async def test_the_command_line_may_do_what_it_is_asked(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register(verified=True)
    changed = await keyturn.assign_roles.execute(AssignRolesCommand(user.id, BOTH, actor=None))
    assert changed.role_names == BOTH
    assert (await keyturn.get_user.by_email("ADA@example.com")).id == user.id
    with pytest.raises(UserNotFound):
        await keyturn.get_user.by_email("nobody@example.com")
