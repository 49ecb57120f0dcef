"""Access tokens die before they expire, here at once and elsewhere within the lag."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from keyturn.adapters.memory.revocations import MemoryRevocationList
from keyturn.adapters.memory.unit_of_work import MemoryUnitOfWork
from keyturn.domain.client import Client, secret_digest
from keyturn.domain.errors import (
    InvalidAccessToken,
    InvalidRefreshToken,
    RevocationsUnknown,
    StoreUnavailable,
)
from keyturn.domain.policies import SessionPolicy, revoked_until
from keyturn.domain.secret import Secret
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, UserStatus
from keyturn.ports.revocations import RevocationPage
from keyturn.testing.builders import make_principal
from keyturn.testing.in_memory import PASSWORD, InMemoryKeyturn
from keyturn.use_cases.assign_roles import AssignRolesCommand
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.end_session import EndSessionCommand
from keyturn.use_cases.revocation_replica import RevocationReplica
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand
from keyturn.use_cases.token_pair import TokenPair

Ending = Callable[[InMemoryKeyturn, TokenPair], Awaitable[object]]


def is_good(keyturn: InMemoryKeyturn, tokens: TokenPair) -> bool:
    try:
        keyturn.authenticate_access.execute(tokens.access_token)
    except InvalidAccessToken:
        return False
    return True


async def logout(keyturn: InMemoryKeyturn, tokens: TokenPair) -> None:
    await keyturn.logout(tokens.refresh_token)


async def end_session(keyturn: InMemoryKeyturn, tokens: TokenPair) -> None:
    await keyturn.end_session.execute(
        EndSessionCommand(tokens.user_id, tokens.session_id, make_principal(tokens.user_id))
    )


async def logout_everywhere(keyturn: InMemoryKeyturn, tokens: TokenPair) -> None:
    await keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(tokens.user_id, make_principal(tokens.user_id))
    )


async def reuse(keyturn: InMemoryKeyturn, tokens: TokenPair) -> None:
    await keyturn.refresh(tokens.refresh_token)
    keyturn.advance(minutes=1)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)


async def evict(keyturn: InMemoryKeyturn, tokens: TokenPair) -> None:
    for _ in range(keyturn.session_policy.max_sessions):
        keyturn.advance(seconds=1)
        await keyturn.login()


async def change_password(keyturn: InMemoryKeyturn, tokens: TokenPair) -> None:
    await keyturn.change_password.execute(
        ChangePasswordCommand(
            tokens.user_id, tokens.session_id, PASSWORD, Secret("another long password")
        )
    )


async def disable(keyturn: InMemoryKeyturn, tokens: TokenPair) -> None:
    await keyturn.change_user.execute(
        ChangeUserCommand(tokens.user_id, actor=None, status=UserStatus.DISABLED)
    )


async def change_roles(keyturn: InMemoryKeyturn, tokens: TokenPair) -> None:
    await keyturn.assign_roles.execute(
        AssignRolesCommand(tokens.user_id, frozenset({ADMIN_ROLE.name}), actor=None)
    )


async def redefine_role(keyturn: InMemoryKeyturn, tokens: TokenPair) -> None:
    await keyturn.define_role.execute(
        DefineRoleCommand(USER_ROLE.name, frozenset({"profile:read"}), actor=None)
    )


ENDINGS: list[Ending] = [
    logout,
    end_session,
    logout_everywhere,
    reuse,
    evict,
    change_password,
    disable,
    change_roles,
    redefine_role,
]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_what_ends_a_session_or_its_rights_kills_its_access_token_at_once(
    keyturn: InMemoryKeyturn, ending: Ending
) -> None:
    await keyturn.register(verified=True)
    tokens = await keyturn.login()
    assert is_good(keyturn, tokens)
    await ending(keyturn, tokens)
    assert not is_good(keyturn, tokens)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_another_process_that_follows_the_list_knows_after_its_next_look(
    keyturn: InMemoryKeyturn, ending: Ending
) -> None:
    await keyturn.register(verified=True)
    tokens = await keyturn.login()
    other = another_process(keyturn)
    await other.revocations.follow()
    await ending(keyturn, tokens)
    other.clock.set(keyturn.clock.now())
    assert is_good(other, tokens)
    await other.revocations.follow()
    assert not is_good(other, tokens)


def another_process(keyturn: InMemoryKeyturn) -> InMemoryKeyturn:
    def unit_of_work() -> MemoryUnitOfWork:
        return MemoryUnitOfWork(keyturn.store)

    return InMemoryKeyturn(
        unit_of_work=unit_of_work,
        revocations=MemoryRevocationList(keyturn.store),
        codec=keyturn.codec,
    )


@pytest.mark.parametrize("ending", [change_password, change_roles, redefine_role])
async def test_a_session_that_goes_on_gets_new_claims_by_a_refresh(
    keyturn: InMemoryKeyturn, ending: Ending
) -> None:
    await keyturn.register(verified=True)
    tokens = await keyturn.login()
    await ending(keyturn, tokens)
    refreshed = (await keyturn.refresh(tokens.refresh_token)).tokens
    assert is_good(keyturn, refreshed)
    principal = keyturn.authenticate_access.execute(refreshed.access_token)
    user = await keyturn.load_user.execute(tokens.user_id)
    assert principal.roles == user.role_names
    assert principal.permissions == user.permissions


@pytest.mark.parametrize("ending", [logout, end_session, reuse])
async def test_what_ends_one_session_leaves_the_users_others_alone(
    keyturn: InMemoryKeyturn, ending: Ending
) -> None:
    await keyturn.register(verified=True)
    tokens, other = await keyturn.login(), await keyturn.login()
    await ending(keyturn, tokens)
    assert is_good(keyturn, other)


async def test_logging_out_elsewhere_kills_the_other_tokens_and_not_ones_own(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register(verified=True)
    other, current = await keyturn.login(), await keyturn.login()
    await keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(user.id, make_principal(user.id), keep=current.session_id)
    )
    assert (is_good(keyturn, other), is_good(keyturn, current)) == (False, True)


async def test_a_login_after_logging_out_everywhere_is_good_in_the_same_second(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register(verified=True)
    before = await keyturn.login()
    await keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(user.id, make_principal(user.id))
    )
    after = await keyturn.login()
    assert (is_good(keyturn, before), is_good(keyturn, after)) == (False, True)


async def test_another_users_tokens_stay_good(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register(verified=True)
    await keyturn.register("eve@example.com")
    eve = await keyturn.login("eve@example.com")
    await keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(user.id, make_principal(user.id))
    )
    assert is_good(keyturn, eve)


async def test_an_entry_is_dropped_when_every_token_it_kills_has_expired(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register(verified=True)
    tokens = await keyturn.login()
    await keyturn.logout(tokens.refresh_token)
    gone = revoked_until(keyturn.clock.now(), keyturn.session_policy.access_ttl)
    keyturn.clock.set(gone - timedelta(seconds=1))
    await keyturn.revocations.follow()
    assert len(keyturn.revocations) == 1
    keyturn.clock.set(gone)
    await keyturn.revocations.follow()
    assert len(keyturn.revocations) == 0


class BrokenList(MemoryRevocationList):
    broken = False

    async def read(self, after: str | None) -> RevocationPage:
        if self.broken:
            raise StoreUnavailable
        return await super().read(after)


async def test_a_process_that_has_lost_touch_trusts_no_token_and_recovers_by_itself() -> None:
    one = InMemoryKeyturn()
    followed = BrokenList(one.store)
    other = InMemoryKeyturn(
        unit_of_work=one.unit_of_work,
        revocations=followed,
        codec=one.codec,
        max_staleness=timedelta(seconds=10),
    )
    await one.register(verified=True)
    tokens, logged_out = await one.login(), await one.login()
    with pytest.raises(RevocationsUnknown):
        other.authenticate_access.execute(tokens.access_token)
    await other.revocations.follow()
    assert is_good(other, tokens)

    followed.broken = True
    await one.logout(logged_out.refresh_token)
    with pytest.raises(StoreUnavailable):
        await other.revocations.follow()
    other.advance(seconds=10)
    assert is_good(other, tokens)
    other.advance(seconds=1)
    for access_token in (tokens.access_token, logged_out.access_token):
        with pytest.raises(RevocationsUnknown):
            other.authenticate_access.execute(access_token)

    followed.broken = False
    await other.revocations.follow()
    assert (is_good(other, tokens), is_good(other, logged_out)) == (True, False)


async def test_a_copy_is_as_old_as_the_begin_of_the_look_that_made_it() -> None:
    class SlowList(MemoryRevocationList):
        async def read(self, after: str | None) -> RevocationPage:
            page = await super().read(after)
            keyturn.advance(seconds=4)
            return page

    keyturn = InMemoryKeyturn()
    replica = RevocationReplica(SlowList(keyturn.store), keyturn.clock, timedelta(seconds=10))
    await replica.follow()
    assert replica.age() == timedelta(seconds=4)


async def test_what_another_process_has_just_revoked_is_inactive_here_before_it_is_followed() -> (
    None
):
    one = InMemoryKeyturn()
    other = InMemoryKeyturn(
        unit_of_work=one.unit_of_work, revocations=BrokenList(one.store), codec=one.codec
    )
    await other.revocations.follow()
    user, tokens = await one.register(verified=True), await one.login()
    service = Client("notes", secret_digest(Secret("a secret")), introspects=True)
    assert await other.introspect_token.execute(service, tokens.access_token) is not None
    await one.assign_roles.execute(AssignRolesCommand(user.id, frozenset(), actor=None))
    assert is_good(other, tokens)
    assert await other.introspect_token.execute(service, tokens.access_token) is None


async def test_what_is_known_to_be_revoked_stays_so_when_touch_is_lost() -> None:
    keyturn = InMemoryKeyturn(max_staleness=timedelta(seconds=10))
    await keyturn.register(verified=True)
    tokens = await keyturn.login()
    await keyturn.logout(tokens.refresh_token)
    keyturn.advance(minutes=1)
    assert not is_good(keyturn, tokens)


async def test_a_clock_set_back_does_not_make_an_old_copy_young() -> None:
    keyturn = InMemoryKeyturn(
        max_staleness=timedelta(seconds=10),
        session_policy=SessionPolicy(access_ttl=timedelta(hours=1)),
    )
    await keyturn.register(verified=True)
    tokens = await keyturn.login()
    keyturn.advance(seconds=-11)
    with pytest.raises(RevocationsUnknown):
        keyturn.authenticate_access.execute(tokens.access_token)


async def test_a_clock_that_was_ahead_for_a_moment_brings_no_revoked_token_back(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register(verified=True)
    tokens = await keyturn.login()
    await keyturn.logout(tokens.refresh_token)
    await keyturn.revocations.follow()
    keyturn.advance(hours=2)
    await keyturn.revocations.follow()
    keyturn.advance(hours=-2)
    await keyturn.revocations.follow()
    assert not is_good(keyturn, tokens)
