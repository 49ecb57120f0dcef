"""Somebody changes their password."""

import asyncio

import pytest

from keyturn.domain.errors import (
    InvalidAccessToken,
    InvalidCredentials,
    InvalidRefreshToken,
    KeyturnError,
    PasswordTooCommon,
    PasswordTooShort,
    WrongCurrentPassword,
)
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.secret import Secret
from keyturn.domain.user import UserStatus
from keyturn.testing.doubles import FixedBlocklist
from keyturn.testing.in_memory import PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.token_pair import TokenPair

NEW = Secret("a new and longer password")


def change(
    tokens: TokenPair, current: Secret = PASSWORD, new: Secret = NEW
) -> ChangePasswordCommand:
    return ChangePasswordCommand(tokens.user_id, tokens.session_id, current, new)


async def test_the_new_password_logs_in_and_the_old_one_does_not(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    await keyturn.change_password.execute(change(await keyturn.login()))
    await keyturn.login(password=NEW)
    with pytest.raises(InvalidCredentials):
        await keyturn.login()


async def test_other_sessions_end_and_the_one_that_asks_stays(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    other, current = await keyturn.login(), await keyturn.login()
    await keyturn.change_password.execute(change(current))
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(other.refresh_token)
    await keyturn.refresh(current.refresh_token)
    ended = keyturn.store.families[other.session_id]
    assert ended.revoke_reason is RevokeReason.PASSWORD_CHANGED
    assert keyturn.store.users[user.id].epoch == user.epoch + 1


async def test_a_wrong_current_password_changes_nothing(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    tokens = await keyturn.login()
    with pytest.raises(WrongCurrentPassword):
        await keyturn.change_password.execute(change(tokens, current=NEW))
    assert keyturn.store.users[user.id].password_hash == user.password_hash
    await keyturn.refresh(tokens.refresh_token)


@pytest.mark.parametrize(
    ("new", "error"), [("too short", PasswordTooShort), ("a very common one", PasswordTooCommon)]
)
async def test_a_new_password_must_keep_the_rules(new: str, error: type[KeyturnError]) -> None:
    keyturn = InMemoryKeyturn(blocklist=FixedBlocklist("a very common one"))
    await keyturn.register()
    tokens = await keyturn.login()
    with pytest.raises(error):
        await keyturn.change_password.execute(change(tokens, new=Secret(new)))


async def test_a_disabled_user_changes_nothing(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    tokens = await keyturn.login()
    await keyturn.set_status(user, UserStatus.DISABLED)
    with pytest.raises(InvalidAccessToken):
        await keyturn.change_password.execute(change(tokens))


async def test_of_two_changes_at_once_one_wins_and_the_other_is_told(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    results = await asyncio.gather(
        keyturn.change_password.execute(change(tokens, new=Secret("the first new password"))),
        keyturn.change_password.execute(change(tokens, new=Secret("the second new password"))),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == [
        "NoneType",
        "WrongCurrentPassword",
    ]


async def test_a_login_on_another_device_does_not_hinder_the_change(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    current = await keyturn.login()
    other, _ = await asyncio.gather(
        keyturn.login(), keyturn.change_password.execute(change(current)), return_exceptions=True
    )
    if isinstance(other, TokenPair):
        with pytest.raises(InvalidRefreshToken):
            await keyturn.refresh(other.refresh_token)
    await keyturn.login(password=NEW)
