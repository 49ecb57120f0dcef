"""Somebody looks at where they are logged in, and ends some of it."""

import asyncio
from uuid import UUID

import pytest

from keyturn.domain.errors import InvalidRefreshToken, SessionNotFound, UserNotFound
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.refresh_token_family import EndReason, RevokeReason
from keyturn.testing.builders import make_principal
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.end_session import EndSessionCommand
from keyturn.use_cases.list_sessions import ListSessionsQuery
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand
from keyturn.use_cases.token_pair import TokenPair


async def test_the_list_shows_live_sessions_last_used_first_and_which_is_current(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    first = await keyturn.login()
    keyturn.advance(minutes=1)
    second = await keyturn.login()
    keyturn.advance(minutes=1)
    await keyturn.refresh(first.refresh_token)
    sessions = await keyturn.list_sessions.execute(
        ListSessionsQuery(user.id, current=second.session_id)
    )
    assert [(s.id, s.current) for s in sessions] == [
        (first.session_id, False),
        (second.session_id, True),
    ]
    assert sessions[0].last_used_at == keyturn.clock.now()
    assert {(s.ended_at, s.reason) for s in sessions} == {(None, None)}


async def test_the_list_shows_recently_ended_sessions_with_their_reason_when_asked(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    await keyturn.login()
    keyturn.advance(days=6)
    left = await keyturn.login()
    keyturn.advance(days=2)
    await keyturn.logout(left.refresh_token)
    live = await keyturn.login()
    sessions = await keyturn.list_sessions.execute(ListSessionsQuery(user.id, with_ended=True))
    assert [s.reason for s in sessions] == [None, RevokeReason.LOGOUT, EndReason.EXPIRED]
    plain = await keyturn.list_sessions.execute(ListSessionsQuery(user.id))
    assert [s.id for s in plain] == [live.session_id]


async def test_sessions_that_ended_long_ago_are_not_shown(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    tokens = await keyturn.login()
    await keyturn.logout(tokens.refresh_token)
    keyturn.advance(days=31)
    assert await keyturn.list_sessions.execute(ListSessionsQuery(user.id, with_ended=True)) == []


async def test_nobody_sees_the_sessions_of_another(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    await keyturn.login()
    eve = await keyturn.register("eve@example.com")
    assert await keyturn.list_sessions.execute(ListSessionsQuery(eve.id, with_ended=True)) == []


async def test_one_of_my_sessions_can_be_ended(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    lost, kept = await keyturn.login(), await keyturn.login()
    await keyturn.end_session.execute(
        EndSessionCommand(user.id, lost.session_id, make_principal(user.id))
    )
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(lost.refresh_token)
    await keyturn.refresh(kept.refresh_token)
    assert keyturn.store.families[lost.session_id].revoke_reason is RevokeReason.REVOKED


async def test_another_users_session_is_not_found_and_stays(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    eve = await keyturn.register("eve@example.com")
    with pytest.raises(SessionNotFound):
        await keyturn.end_session.execute(
            EndSessionCommand(eve.id, tokens.session_id, make_principal(eve.id))
        )
    await keyturn.refresh(tokens.refresh_token)


async def test_an_unknown_session_is_not_found(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    with pytest.raises(SessionNotFound):
        await keyturn.end_session.execute(
            EndSessionCommand(user.id, FamilyId(UUID(int=0)), make_principal(user.id))
        )


async def test_logging_out_everywhere_ends_every_session_and_raises_the_epoch(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    sessions = [await keyturn.login() for _ in range(3)]
    await keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(user.id, make_principal(user.id))
    )
    for tokens in sessions:
        with pytest.raises(InvalidRefreshToken):
            await keyturn.refresh(tokens.refresh_token)
    assert keyturn.store.users[user.id].epoch == user.epoch + 1


async def test_logging_out_elsewhere_keeps_the_session_that_asks(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    other, current = await keyturn.login(), await keyturn.login()
    await keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(user.id, make_principal(user.id), keep=current.session_id)
    )
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(other.refresh_token)
    await keyturn.refresh(current.refresh_token)


async def test_logging_out_everywhere_leaves_others_alone(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    eve = await keyturn.register("eve@example.com")
    await keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(eve.id, make_principal(eve.id))
    )
    await keyturn.refresh(tokens.refresh_token)


async def test_a_login_that_races_a_logout_everywhere_ends_too_or_comes_after(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    for head_start in range(8):
        order: list[str] = []

        async def login(log: list[str] = order) -> TokenPair:
            tokens = await keyturn.login()
            log.append("login")
            return tokens

        async def logout(turns: int = head_start, log: list[str] = order) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await keyturn.revoke_all_families.execute(
                RevokeAllFamiliesCommand(user.id, make_principal(user.id))
            )
            log.append("logout")

        tokens, _ = await asyncio.gather(login(), logout())
        ended = keyturn.store.families[tokens.session_id].revoked_at is not None
        assert ended == (order == ["login", "logout"])


async def test_logging_out_everywhere_as_a_user_who_is_gone_is_refused(
    keyturn: InMemoryKeyturn,
) -> None:
    with pytest.raises(UserNotFound):
        await keyturn.revoke_all_families.execute(
            RevokeAllFamiliesCommand(UserId(UUID(int=1)), actor=None)
        )
