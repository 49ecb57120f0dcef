"""A client trades its refresh token for the next one."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from keyturn.domain.claims import AccessClaims, RefreshClaims
from keyturn.domain.errors import (
    Contention,
    InvalidAccessToken,
    InvalidRefreshToken,
    InvalidScope,
    KeyturnError,
    StoreUnavailable,
    Unavailable,
)
from keyturn.domain.events import Origin
from keyturn.domain.policies import SessionPolicy
from keyturn.domain.refresh_token_family import Device, RevokeReason
from keyturn.domain.secret import Secret
from keyturn.domain.user import ADMIN_ROLE, UserStatus
from keyturn.testing.doubles import OpaqueTokenCodec
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.rotate_refresh import (
    RefreshOutcome,
    RotateRefreshCommand,
    RotateRefreshResult,
)
from keyturn.use_cases.token_pair import TokenPair

NO_GRACE = SessionPolicy(grace=timedelta(0))


@pytest.fixture
async def tokens(keyturn: InMemoryKeyturn) -> TokenPair:
    await keyturn.register()
    return await keyturn.login()


def reason(keyturn: InMemoryKeyturn, of: TokenPair) -> RevokeReason | None:
    return keyturn.store.families[of.session_id].revoke_reason


async def test_a_refresh_gives_the_next_tokens_of_the_same_session(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    result = await keyturn.refresh(tokens.refresh_token)
    assert result.outcome is RefreshOutcome.ROTATED
    assert result.tokens.session_id == tokens.session_id
    assert result.tokens.refresh_token != tokens.refresh_token
    assert result.tokens.access_token != tokens.access_token


async def test_a_chain_of_refreshes_goes_on(keyturn: InMemoryKeyturn, tokens: TokenPair) -> None:
    for generation in range(1, 50):
        keyturn.advance(minutes=12)
        result = await keyturn.refresh(tokens.refresh_token)
        assert result.outcome is RefreshOutcome.ROTATED
        assert keyturn.store.families[tokens.session_id].generation == generation
        tokens = result.tokens


async def test_a_lost_answer_is_given_again_inside_the_grace_window(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    lost = await keyturn.refresh(tokens.refresh_token)
    keyturn.advance(seconds=9)
    family = keyturn.store.families[tokens.session_id]
    again = await keyturn.refresh(tokens.refresh_token)
    assert again.outcome is RefreshOutcome.REPLAYED
    assert again.tokens.refresh_token == lost.tokens.refresh_token
    assert again.tokens.access_token != lost.tokens.access_token
    assert keyturn.store.families[tokens.session_id] == family
    assert (await keyturn.refresh(again.tokens.refresh_token)).outcome is RefreshOutcome.ROTATED


async def test_a_late_second_use_ends_the_session_and_answers_as_any_bad_token(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    successor = (await keyturn.refresh(tokens.refresh_token)).tokens
    keyturn.advance(seconds=10)
    with pytest.raises(InvalidRefreshToken) as failure:
        await keyturn.refresh(tokens.refresh_token)
    assert failure.value.detail == InvalidRefreshToken.message
    assert reason(keyturn, tokens) is RevokeReason.REUSE_DETECTED
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(successor.refresh_token)


async def test_a_token_two_generations_old_ends_the_session_even_at_once(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    second = (await keyturn.refresh(tokens.refresh_token)).tokens
    await keyturn.refresh(second.refresh_token)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)
    assert reason(keyturn, tokens) is RevokeReason.REUSE_DETECTED


async def test_a_thief_who_refreshes_first_is_seen_when_the_owner_refreshes(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    thief = (await keyturn.refresh(tokens.refresh_token)).tokens
    keyturn.advance(minutes=12)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(thief.refresh_token)


async def test_a_thief_is_seen_even_by_an_owner_whose_token_has_expired(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    thief = tokens
    for _ in range(4):
        keyturn.advance(days=2)
        thief = (await keyturn.refresh(thief.refresh_token)).tokens
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)
    assert reason(keyturn, tokens) is RevokeReason.REUSE_DETECTED
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(thief.refresh_token)


async def test_other_sessions_of_the_user_stay_when_one_is_stolen(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    other = await keyturn.login()
    await keyturn.refresh(tokens.refresh_token)
    keyturn.advance(minutes=1)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)
    assert (await keyturn.refresh(other.refresh_token)).outcome is RefreshOutcome.ROTATED


async def test_fifty_refreshes_of_one_token_at_once_are_one_rotation(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    results = await asyncio.gather(*(keyturn.refresh(tokens.refresh_token) for _ in range(50)))
    outcomes = [result.outcome for result in results]
    assert outcomes.count(RefreshOutcome.ROTATED) == 1
    assert outcomes.count(RefreshOutcome.REPLAYED) == 49
    assert len({result.tokens.refresh_token for result in results}) == 1
    family = keyturn.store.families[tokens.session_id]
    assert (family.generation, family.revoked_at) == (1, None)


async def test_with_a_strict_policy_of_many_refreshes_at_once_one_rotates_and_the_session_ends() -> (
    None
):
    keyturn = InMemoryKeyturn(session_policy=NO_GRACE)
    await keyturn.register()
    tokens = await keyturn.login()
    results = await asyncio.gather(
        *(keyturn.refresh(tokens.refresh_token) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(result, RotateRefreshResult) for result in results) == 1
    assert reason(keyturn, tokens) is RevokeReason.REUSE_DETECTED


async def test_a_refresh_that_races_a_logout_leaves_nothing_usable(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    for head_start in range(8):
        tokens = await keyturn.login()

        async def logout(refresh_token: Secret, turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await keyturn.logout(refresh_token)

        refreshed, _ = await asyncio.gather(
            keyturn.refresh(tokens.refresh_token),
            logout(tokens.refresh_token, head_start),
            return_exceptions=True,
        )
        assert reason(keyturn, tokens) is RevokeReason.LOGOUT
        usable = [tokens.refresh_token]
        if isinstance(refreshed, RotateRefreshResult):
            usable.append(refreshed.tokens.refresh_token)
        for refresh_token in usable:
            with pytest.raises(InvalidRefreshToken):
                await keyturn.refresh(refresh_token)


async def test_the_idle_expiry_moves_with_each_refresh(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    for _ in range(3):
        keyturn.advance(days=6)
        tokens = (await keyturn.refresh(tokens.refresh_token)).tokens
    keyturn.advance(days=7)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)


async def test_the_absolute_expiry_survives_every_rotation(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    for _ in range(29):
        keyturn.advance(days=1)
        tokens = (await keyturn.refresh(tokens.refresh_token)).tokens
    assert tokens.refresh_expires_in == 24 * 3600
    keyturn.advance(hours=23, minutes=50)
    last = (await keyturn.refresh(tokens.refresh_token)).tokens
    assert (last.refresh_expires_in, last.expires_in) == (600, 600)
    keyturn.advance(minutes=10)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(last.refresh_token)


async def test_a_disabled_user_is_refused_and_can_go_on_when_enabled_again(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    user = keyturn.store.users[tokens.user_id]
    await keyturn.set_status(user, UserStatus.DISABLED)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)
    await keyturn.set_status(user, UserStatus.ACTIVE)
    assert (await keyturn.refresh(tokens.refresh_token)).outcome is RefreshOutcome.ROTATED


async def test_a_disabled_user_gets_no_replay(keyturn: InMemoryKeyturn, tokens: TokenPair) -> None:
    await keyturn.refresh(tokens.refresh_token)
    await keyturn.set_status(keyturn.store.users[tokens.user_id], UserStatus.DISABLED)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)


async def test_a_refresh_hands_out_the_roles_and_epoch_that_the_user_has_now(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    user = keyturn.store.users[tokens.user_id]
    promoted = user.with_roles(frozenset({ADMIN_ROLE}), keyturn.clock.now())
    keyturn.store.users[user.id] = promoted
    refreshed = (await keyturn.refresh(tokens.refresh_token)).tokens
    claims = keyturn.authenticate_access.execute(refreshed.access_token)
    assert (claims.roles, claims.epoch) == (frozenset({"admin"}), promoted.epoch)


@pytest.mark.parametrize("text", ["", "nonsense", "a.b.c", "\x00", "\ud800", "e" * 100_000])
async def test_what_is_no_refresh_token_is_refused(keyturn: InMemoryKeyturn, text: str) -> None:
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(Secret(text))


async def test_an_access_token_does_not_refresh(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.access_token)


async def test_a_refresh_token_does_not_authenticate(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    with pytest.raises(InvalidAccessToken):
        keyturn.authenticate_access.execute(tokens.refresh_token)


async def test_a_token_of_a_family_that_was_purged_is_refused(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    keyturn.store.families.clear()
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)


async def test_another_client_is_refused_and_does_not_end_the_session(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    with pytest.raises(InvalidRefreshToken):
        await keyturn.rotate_refresh.execute(
            RotateRefreshCommand(tokens.refresh_token, client_id="another")
        )
    assert (await keyturn.refresh(tokens.refresh_token)).outcome is RefreshOutcome.ROTATED


async def test_a_scope_narrows_one_access_token_and_not_the_session(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    narrow = frozenset({"profile:read"})
    narrowed = await keyturn.rotate_refresh.execute(
        RotateRefreshCommand(tokens.refresh_token, scope=narrow)
    )
    assert narrowed.tokens.scope == narrow
    assert (await keyturn.refresh(narrowed.tokens.refresh_token)).tokens.scope is None


async def test_a_wider_scope_is_refused_and_uses_up_nothing(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    tokens = await keyturn.login_user.execute(
        LoginUserCommand(ADA, PASSWORD, scope=frozenset({"profile:read"}))
    )
    with pytest.raises(InvalidScope):
        await keyturn.rotate_refresh.execute(
            RotateRefreshCommand(tokens.refresh_token, scope=frozenset({"profile:write"}))
        )
    refreshed = await keyturn.refresh(tokens.refresh_token)
    assert refreshed.outcome is RefreshOutcome.ROTATED
    assert refreshed.tokens.scope == frozenset({"profile:read"})


async def test_a_refresh_notes_where_it_came_from_and_keeps_the_device_name(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens = await keyturn.login_user.execute(
        LoginUserCommand(ADA, PASSWORD, "phone", Origin("192.0.2.1", "agent/1"))
    )
    await keyturn.rotate_refresh.execute(
        RotateRefreshCommand(tokens.refresh_token, Origin("192.0.2.2", "agent/2"))
    )
    family = keyturn.store.families[tokens.session_id]
    assert family.device == Device("phone", "agent/2", "192.0.2.2")


async def test_a_store_that_fails_at_commit_uses_up_nothing(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    class BrokenUnitOfWork(type(keyturn.unit_of_work())):  # type: ignore[misc]  # the base is made at run time
        async def commit(self) -> None:
            raise StoreUnavailable

    broken = InMemoryKeyturn(
        codec=keyturn.codec, unit_of_work=lambda: BrokenUnitOfWork(keyturn.store)
    )
    with pytest.raises(StoreUnavailable):
        await broken.refresh(tokens.refresh_token)
    assert (await keyturn.refresh(tokens.refresh_token)).outcome is RefreshOutcome.ROTATED


def service_whose_first_commit(
    keyturn: InMemoryKeyturn,
    before_it_is_told: Callable[[InMemoryKeyturn], Awaitable[None]],
    policy: SessionPolicy | None = None,
) -> InMemoryKeyturn:
    """Return another service on the store; something happens between its first commit and its end."""
    commits = count(1)

    class InterruptedUnitOfWork(type(keyturn.unit_of_work())):  # type: ignore[misc]  # the base is made at run time
        async def commit(self) -> None:
            await super().commit()
            if next(commits) == 1:
                await before_it_is_told(service)

    service = InMemoryKeyturn(
        codec=keyturn.codec,
        ids=keyturn.ids,
        session_policy=policy,
        unit_of_work=lambda: InterruptedUnitOfWork(keyturn.store),
    )
    return service


async def no_answer(_: InMemoryKeyturn) -> None:
    """Leave the caller without an answer."""
    raise StoreUnavailable


@pytest.fixture
def silent(keyturn: InMemoryKeyturn) -> InMemoryKeyturn:
    """A service whose store writes what it is asked to, and does not answer to the first commit."""
    return service_whose_first_commit(keyturn, no_answer)


async def test_a_rotation_that_the_store_did_not_tell_of_is_no_theft_however_long_it_took(
    silent: InMemoryKeyturn, tokens: TokenPair
) -> None:
    with pytest.raises(StoreUnavailable):
        await silent.refresh(tokens.refresh_token)
    silent.advance(hours=1)
    retried = await silent.refresh(tokens.refresh_token)
    assert retried.outcome is RefreshOutcome.REPLAYED
    silent.advance(hours=1)
    assert (await silent.refresh(retried.tokens.refresh_token)).outcome is RefreshOutcome.ROTATED


async def test_of_two_tabs_that_come_again_late_both_are_handed_the_successor(
    silent: InMemoryKeyturn, tokens: TokenPair
) -> None:
    with pytest.raises(StoreUnavailable):
        await silent.refresh(tokens.refresh_token)
    silent.advance(hours=1)
    first = await silent.refresh(tokens.refresh_token)
    silent.advance(seconds=1)
    second = await silent.refresh(tokens.refresh_token)
    assert [first.outcome, second.outcome] == [RefreshOutcome.REPLAYED, RefreshOutcome.REPLAYED]
    assert first.tokens.refresh_token == second.tokens.refresh_token


async def test_a_successor_that_the_store_did_not_tell_of_is_handed_out_late_for_the_grace_window(
    silent: InMemoryKeyturn, keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    with pytest.raises(StoreUnavailable):
        await silent.refresh(tokens.refresh_token)
    silent.advance(hours=1)
    await silent.refresh(tokens.refresh_token)
    silent.advance(seconds=10)
    with pytest.raises(InvalidRefreshToken):
        await silent.refresh(tokens.refresh_token)
    assert reason(keyturn, tokens) is RevokeReason.REUSE_DETECTED


async def test_a_successor_that_somebody_was_handed_in_time_is_handed_to_nobody_late(
    silent: InMemoryKeyturn, keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    with pytest.raises(StoreUnavailable):
        await silent.refresh(tokens.refresh_token)
    await silent.refresh(tokens.refresh_token)
    silent.advance(hours=1)
    with pytest.raises(InvalidRefreshToken):
        await silent.refresh(tokens.refresh_token)
    assert reason(keyturn, tokens) is RevokeReason.REUSE_DETECTED


async def test_a_successor_that_another_was_handed_while_the_store_was_silent_is_handed_to_nobody_late(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    replayed: list[RefreshOutcome] = []

    async def replay(service: InMemoryKeyturn) -> None:
        replayed.append((await service.refresh(tokens.refresh_token)).outcome)
        raise StoreUnavailable

    service = service_whose_first_commit(keyturn, replay)
    with pytest.raises(StoreUnavailable):
        await service.refresh(tokens.refresh_token)
    assert replayed == [RefreshOutcome.REPLAYED]
    service.advance(hours=1)
    with pytest.raises(InvalidRefreshToken):
        await service.refresh(tokens.refresh_token)
    assert reason(keyturn, tokens) is RevokeReason.REUSE_DETECTED


async def test_without_a_grace_window_a_second_use_is_reuse_before_the_store_has_answered_too(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    async def come_again(service: InMemoryKeyturn) -> None:
        with pytest.raises(InvalidRefreshToken):
            await service.refresh(tokens.refresh_token)

    strict = service_whose_first_commit(keyturn, come_again, NO_GRACE)
    await strict.refresh(tokens.refresh_token)
    assert reason(keyturn, tokens) is RevokeReason.REUSE_DETECTED


async def test_without_a_grace_window_a_rotation_that_the_store_did_not_tell_of_is_no_theft_either(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    strict = service_whose_first_commit(keyturn, no_answer, NO_GRACE)
    with pytest.raises(StoreUnavailable):
        await strict.refresh(tokens.refresh_token)
    assert (await strict.refresh(tokens.refresh_token)).outcome is RefreshOutcome.REPLAYED
    with pytest.raises(InvalidRefreshToken):
        await strict.refresh(tokens.refresh_token)
    assert reason(keyturn, tokens) is RevokeReason.REUSE_DETECTED


async def test_without_a_grace_window_a_rotation_whose_caller_left_meanwhile_is_no_theft_either(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    async def leave(_: InMemoryKeyturn) -> None:
        raise asyncio.CancelledError

    strict = service_whose_first_commit(keyturn, leave, NO_GRACE)
    with pytest.raises(asyncio.CancelledError):
        await strict.refresh(tokens.refresh_token)
    assert (await strict.refresh(tokens.refresh_token)).outcome is RefreshOutcome.REPLAYED


async def test_of_two_rotations_that_the_store_did_not_tell_of_either_may_have_been_made(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    outcomes = ["lost", "stored"]

    class SilentUnitOfWork(type(keyturn.unit_of_work())):  # type: ignore[misc]  # the base is made at run time
        async def commit(self) -> None:
            outcome = outcomes.pop() if outcomes else "stored and answered"
            if outcome == "stored":
                # While this one is under way, another comes, and is not stored.
                with pytest.raises(StoreUnavailable):
                    await service.refresh(tokens.refresh_token)
            if outcome != "lost":
                await super().commit()
            if outcome != "stored and answered":
                raise StoreUnavailable

    service = InMemoryKeyturn(
        codec=keyturn.codec,
        ids=keyturn.ids,
        unit_of_work=lambda: SilentUnitOfWork(keyturn.store),
    )
    with pytest.raises(StoreUnavailable):
        await service.refresh(tokens.refresh_token)
    service.advance(hours=1)
    retried = await service.refresh(tokens.refresh_token)
    assert retried.outcome is RefreshOutcome.REPLAYED


async def test_what_the_store_did_not_tell_of_saves_no_older_token(
    silent: InMemoryKeyturn, keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    second = (await keyturn.refresh(tokens.refresh_token)).tokens
    with pytest.raises(StoreUnavailable):
        await silent.refresh(second.refresh_token)
    with pytest.raises(InvalidRefreshToken):
        await silent.refresh(tokens.refresh_token)
    assert reason(keyturn, tokens) is RevokeReason.REUSE_DETECTED


async def test_a_key_that_cannot_be_reached_uses_up_nothing(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    working = keyturn.codec

    class UnreachableKey(OpaqueTokenCodec):
        async def encode_access(self, claims: AccessClaims) -> Secret:
            raise Unavailable

        def decode_refresh(self, token: Secret) -> RefreshClaims:
            return working.decode_refresh(token)

    broken = InMemoryKeyturn(codec=UnreachableKey(), unit_of_work=keyturn.unit_of_work)
    with pytest.raises(Unavailable):
        await broken.refresh(tokens.refresh_token)
    assert (await keyturn.refresh(tokens.refresh_token)).outcome is RefreshOutcome.ROTATED


async def test_a_family_that_others_keep_changing_answers_contention(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    class AlwaysLate(type(keyturn.unit_of_work())):  # type: ignore[misc]  # the base is made at run time
        async def commit(self) -> None:
            family = keyturn.store.families[tokens.session_id]
            keyturn.store.families[family.id] = replace(family, generation=family.generation + 1)
            await super().commit()

    contended = InMemoryKeyturn(codec=keyturn.codec, unit_of_work=lambda: AlwaysLate(keyturn.store))
    with pytest.raises(Contention):
        await contended.refresh(tokens.refresh_token)


async def test_every_refusal_looks_the_same_to_the_caller(
    keyturn: InMemoryKeyturn, tokens: TokenPair
) -> None:
    refused: list[KeyturnError] = []

    async def refuse(refresh_token: Secret) -> None:
        with pytest.raises(InvalidRefreshToken) as failure:
            await keyturn.refresh(refresh_token)
        refused.append(failure.value)

    await refuse(Secret("nonsense"))
    await keyturn.refresh(tokens.refresh_token)
    keyturn.advance(minutes=1)
    await refuse(tokens.refresh_token)
    await refuse(tokens.refresh_token)
    keyturn.store.families.clear()
    await refuse(tokens.refresh_token)
    assert {(type(error), error.detail) for error in refused} == {
        (InvalidRefreshToken, InvalidRefreshToken.message)
    }
