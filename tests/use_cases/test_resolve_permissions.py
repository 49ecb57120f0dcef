"""Rights that the token does not tell are looked up, and remembered for a while."""

import pytest

from keyturn.domain.errors import InvalidAccessToken
from keyturn.domain.policies import ClaimsPolicy
from keyturn.domain.user import UserStatus
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.assign_roles import AssignRolesCommand


@pytest.mark.parametrize("policy", [ClaimsPolicy.NONE, ClaimsPolicy.ROLES])
async def test_what_the_token_keeps_to_itself_is_looked_up(policy: ClaimsPolicy) -> None:
    keyturn = InMemoryKeyturn(claims_policy=policy)
    user = await keyturn.register(verified=True)
    tokens = await keyturn.login()
    principal = keyturn.authenticate_access.execute(tokens.access_token)
    assert principal.permissions is None
    resolved = await keyturn.resolve_permissions.execute(principal)
    assert (resolved.roles, resolved.permissions) == (user.role_names, user.permissions)
    assert resolved.has_permission("profile:read")


async def test_a_token_that_tells_all_costs_no_look_up(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register(verified=True)
    tokens = await keyturn.login()
    principal = keyturn.authenticate_access.execute(tokens.access_token)
    keyturn.store.users.clear()
    assert await keyturn.resolve_permissions.execute(principal) is principal


async def test_what_was_looked_up_is_remembered_for_a_while() -> None:
    keyturn = InMemoryKeyturn(claims_policy=ClaimsPolicy.NONE)
    user = await keyturn.register(verified=True)
    tokens = await keyturn.login()
    principal = keyturn.authenticate_access.execute(tokens.access_token)
    await keyturn.resolve_permissions.execute(principal)
    await keyturn.set_status(user, UserStatus.DISABLED)
    keyturn.advance(seconds=4)
    await keyturn.resolve_permissions.execute(principal)
    keyturn.advance(seconds=1)
    with pytest.raises(InvalidAccessToken):
        await keyturn.resolve_permissions.execute(principal)


async def test_new_rights_are_never_hidden_by_remembered_ones() -> None:
    keyturn = InMemoryKeyturn(claims_policy=ClaimsPolicy.NONE)
    user = await keyturn.register(verified=True)
    tokens = await keyturn.login()
    await keyturn.resolve_permissions.execute(
        keyturn.authenticate_access.execute(tokens.access_token)
    )
    await keyturn.assign_roles.execute(
        AssignRolesCommand(user.id, frozenset({"admin"}), actor=None)
    )
    refreshed = (await keyturn.refresh(tokens.refresh_token)).tokens
    resolved = await keyturn.resolve_permissions.execute(
        keyturn.authenticate_access.execute(refreshed.access_token)
    )
    assert resolved.roles == {"admin"}
