"""An attacker who knows an address wants its owner locked out, or wants to guess without waits.

A known device is one that sends a device token of a successful login. No network address counts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from keyturn.domain.claims import DeviceClaims
from keyturn.domain.errors import InvalidCredentials
from keyturn.domain.events import Origin
from keyturn.domain.mail import MailKind
from keyturn.domain.secret import Secret
from keyturn.domain.user import UserStatus
from keyturn.testing.builders import make_principal
from keyturn.testing.doubles import OpaqueTokenCodec, PlainPasswordHasher
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.end_session import EndSessionCommand
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.reset_password import ResetPasswordCommand
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand
from keyturn.use_cases.token_pair import TokenPair

WRONG = Secret("not the right password")
NEW = Secret("a wholly different passphrase")
SHARED = Origin("203.0.113.7")


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return InMemoryKeyturn()


async def log_in(
    keyturn: InMemoryKeyturn,
    password: Secret = PASSWORD,
    *,
    device: Secret | None = None,
    email: str = ADA,
) -> TokenPair:
    return await keyturn.login_user.execute(
        LoginUserCommand(email, password, origin=SHARED, device_token=device)
    )


async def guess(keyturn: InMemoryKeyturn, times: int, device: Secret | None = None) -> None:
    for _ in range(times):
        with pytest.raises(InvalidCredentials):
            await log_in(keyturn, WRONG, device=device)


async def is_known(keyturn: InMemoryKeyturn, device: Secret | None) -> bool:
    """Return whether the right password from this device counts while strangers have to wait."""
    await guess(keyturn, 6)
    try:
        await log_in(keyturn, device=device)
    except InvalidCredentials:
        keyturn.advance(minutes=15)
        return False
    return True


def failures(keyturn: InMemoryKeyturn) -> int:
    return next(u.failed_logins for u in keyturn.store.users.values() if u.email == ADA)


async def test_an_attacker_cannot_lock_the_owner_out_of_a_known_device(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    device = (await log_in(keyturn)).device_token
    for _ in range(200):
        keyturn.advance(hours=2)
        await guess(keyturn, 1)
    assert failures(keyturn) == keyturn.login_policy.failures_from_anywhere
    await log_in(keyturn, device=device)
    assert failures(keyturn) == 0


async def test_an_attacker_cannot_lock_the_owner_out_by_guessing_from_many_places_at_once(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    device = (await log_in(keyturn)).device_token
    for _ in range(3):
        keyturn.advance(minutes=15)
        await asyncio.gather(
            *(log_in(keyturn, WRONG) for _ in range(66)),
            return_exceptions=True,
        )
    assert failures(keyturn) == keyturn.login_policy.failures_from_anywhere
    kinds = [mail.kind for mail in keyturn.store.mails.values()]
    assert kinds.count(MailKind.LOGIN_BLOCKED) == 1
    await log_in(keyturn, device=device)


async def test_an_attacker_gains_nothing_by_guessing_from_the_owners_network_address(
    keyturn: InMemoryKeyturn,
) -> None:
    """A shared NAT is no known device."""
    await keyturn.register()
    await log_in(keyturn)
    await guess(keyturn, 200)
    assert failures(keyturn) == 6


async def test_an_attacker_has_at_most_a_hundred_guesses_with_a_stolen_device_token(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    device = (await log_in(keyturn)).device_token
    await guess(keyturn, 150, device)
    assert failures(keyturn) == 100
    keyturn.advance(days=1)
    for stolen in (device, None):
        with pytest.raises(InvalidCredentials):
            await log_in(keyturn, device=stolen)


async def log_out(keyturn: InMemoryKeyturn, pair: TokenPair) -> None:
    await keyturn.logout(pair.refresh_token)


async def log_out_everywhere(keyturn: InMemoryKeyturn, pair: TokenPair) -> None:
    await keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(pair.user_id, actor=make_principal(pair.user_id, pair.session_id))
    )


async def end_by_administrator(keyturn: InMemoryKeyturn, pair: TokenPair) -> None:
    await keyturn.end_session.execute(EndSessionCommand(pair.user_id, pair.session_id, actor=None))


async def present_twice(keyturn: InMemoryKeyturn, pair: TokenPair) -> None:
    await keyturn.refresh(pair.refresh_token)
    keyturn.advance(minutes=1)
    with pytest.raises(Exception, match="refresh token"):
        await keyturn.refresh(pair.refresh_token)


async def reset_password(keyturn: InMemoryKeyturn, _: TokenPair) -> None:
    token = await keyturn.forget_password()
    await keyturn.reset_password.execute(ResetPasswordCommand(token, PASSWORD))


async def log_out_then_reset_password(keyturn: InMemoryKeyturn, pair: TokenPair) -> None:
    await log_out(keyturn, pair)
    await reset_password(keyturn, pair)


async def expire_then_reset_password(keyturn: InMemoryKeyturn, pair: TokenPair) -> None:
    keyturn.advance(days=8)
    await reset_password(keyturn, pair)


async def change_password_elsewhere(keyturn: InMemoryKeyturn, pair: TokenPair) -> None:
    other = await log_in(keyturn)
    await keyturn.change_password.execute(
        ChangePasswordCommand(pair.user_id, other.session_id, PASSWORD, NEW)
    )
    await keyturn.change_password.execute(
        ChangePasswordCommand(pair.user_id, other.session_id, NEW, PASSWORD)
    )


async def disable_and_enable(keyturn: InMemoryKeyturn, pair: TokenPair) -> None:
    await log_out(keyturn, pair)
    for status in (UserStatus.DISABLED, UserStatus.ACTIVE):
        await keyturn.set_status(keyturn.store.users[pair.user_id], status)


async def wait_for_a_month(keyturn: InMemoryKeyturn, pair: TokenPair) -> None:
    await log_out(keyturn, pair)
    keyturn.advance(days=30, seconds=1)


async def purge(keyturn: InMemoryKeyturn, pair: TokenPair) -> None:
    await log_out(keyturn, pair)
    del keyturn.store.families[pair.session_id]


@pytest.mark.parametrize(
    "happening",
    [
        log_out_everywhere,
        end_by_administrator,
        present_twice,
        reset_password,
        log_out_then_reset_password,
        expire_then_reset_password,
        change_password_elsewhere,
        disable_and_enable,
        wait_for_a_month,
        purge,
    ],
)
async def test_a_thief_who_was_thrown_out_cannot_guess_without_waits(
    keyturn: InMemoryKeyturn,
    happening: Callable[[InMemoryKeyturn, TokenPair], Awaitable[None]],
) -> None:
    await keyturn.register()
    pair = await log_in(keyturn)
    await happening(keyturn, pair)
    assert not await is_known(keyturn, pair.device_token)


async def stay_logged_in(_: InMemoryKeyturn, __: TokenPair) -> None:
    """Do nothing."""


async def expire(keyturn: InMemoryKeyturn, _: TokenPair) -> None:
    keyturn.advance(days=7 + 29)


async def change_password_here(keyturn: InMemoryKeyturn, pair: TokenPair) -> None:
    for old, new in ((PASSWORD, NEW), (NEW, PASSWORD)):
        await keyturn.change_password.execute(
            ChangePasswordCommand(pair.user_id, pair.session_id, old, new)
        )


@pytest.mark.parametrize("happening", [stay_logged_in, log_out, expire, change_password_here])
async def test_the_owner_does_not_wait_on_a_device_whose_session_is_not_in_doubt(
    keyturn: InMemoryKeyturn,
    happening: Callable[[InMemoryKeyturn, TokenPair], Awaitable[None]],
) -> None:
    await keyturn.register()
    pair = await log_in(keyturn)
    await happening(keyturn, pair)
    assert await is_known(keyturn, pair.device_token)


async def test_the_owner_renews_the_device_token_with_each_login(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    device = (await log_in(keyturn)).device_token
    for _ in range(10):
        keyturn.advance(days=35)
        device = (await log_in(keyturn, device=device)).device_token
    assert await is_known(keyturn, device)


async def test_an_attacker_gains_nothing_by_the_device_token_of_an_account_of_their_own(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    await keyturn.register("eve@example.com")
    foreign = (await log_in(keyturn, email="eve@example.com")).device_token
    assert not await is_known(keyturn, foreign)


async def test_an_attacker_gains_nothing_by_combining_a_user_with_anothers_session(
    keyturn: InMemoryKeyturn,
) -> None:
    """The token's user, the session's user and the account must be one."""
    ada = await keyturn.register()
    await keyturn.register("eve@example.com")
    mine = await log_in(keyturn)
    eves = await log_in(keyturn, email="eve@example.com")
    now = keyturn.clock.now()
    honest = DeviceClaims(ada.id, mine.session_id, 0, now, now + timedelta(days=180))
    for forged in (
        replace(honest, user_id=eves.user_id),
        replace(honest, family_id=eves.session_id),
        replace(honest, issued_at=now - timedelta(days=180), expires_at=now),
    ):
        assert not await is_known(keyturn, await keyturn.codec.encode_device(forged))
    assert await is_known(keyturn, await keyturn.codec.encode_device(honest))


async def test_an_attacker_gains_nothing_by_a_token_of_another_kind_or_key(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    pair = await log_in(keyturn)
    assert pair.device_token is not None
    claims = keyturn.codec.decode_device(pair.device_token, keyturn.clock.now())
    assert claims is not None
    for forged in (
        pair.access_token,
        pair.refresh_token,
        await OpaqueTokenCodec().encode_device(claims),
        Secret(""),
        Secret("\ud800.é.\x00"),
        Secret("A" * 100_000),
    ):
        assert not await is_known(keyturn, forged)


@pytest.mark.parametrize("email", [ADA, "nobody@example.com"])
async def test_an_attacker_learns_nothing_by_sending_a_device_token(email: str) -> None:
    """A login costs one hash, with a good device token, a bad one and none."""
    hasher = PlainPasswordHasher()
    keyturn = InMemoryKeyturn(hasher=hasher)
    await keyturn.register()
    device = (await log_in(keyturn)).device_token
    for presented in (device, Secret("nonsense"), None):
        before = hasher.verifications
        with pytest.raises(InvalidCredentials) as caught:
            await log_in(keyturn, WRONG, device=presented, email=email)
        assert hasher.verifications == before + 1
        assert caught.value.detail == InvalidCredentials.message
