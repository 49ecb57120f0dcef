"""Somebody guesses passwords."""

import asyncio

import pytest

from keyturn.domain.errors import (
    InvalidCredentials,
    InvalidRefreshToken,
    TooManyAttempts,
)
from keyturn.domain.events import LoginFailure, Origin
from keyturn.domain.mail import MailKind
from keyturn.domain.secret import Secret
from keyturn.domain.source import Source
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.testing.doubles import PlainPasswordHasher
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.export_account import ExportAccountCommand
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.request_email_verification import RequestEmailVerificationCommand
from keyturn.use_cases.request_password_reset import RequestPasswordResetCommand
from keyturn.use_cases.reset_password import ResetPasswordCommand
from keyturn.use_cases.rotate_refresh import RotateRefreshCommand

WRONG = Secret("not the right password")
NEW = Secret("a wholly different passphrase")
ATTACKER = Origin("198.51.100.66")
HOME = Origin("203.0.113.7")


async def log_in(
    keyturn: InMemoryKeyturn, password: Secret = PASSWORD, origin: Origin = ATTACKER
) -> None:
    await keyturn.login_user.execute(LoginUserCommand(ADA, password, origin=origin))


async def guess(keyturn: InMemoryKeyturn, times: int, origin: Origin = ATTACKER) -> None:
    for _ in range(times):
        with pytest.raises(InvalidCredentials):
            await log_in(keyturn, WRONG, origin)


def failures(keyturn: InMemoryKeyturn) -> int:
    [user] = keyturn.store.users.values()
    return user.failed_logins


def last_reason(keyturn: InMemoryKeyturn) -> str:
    return list(keyturn.store.audit_events.values())[-1].details["reason"]


async def test_after_a_few_guesses_even_the_right_password_waits(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    await guess(keyturn, 8)
    with pytest.raises(InvalidCredentials):
        await log_in(keyturn)
    assert last_reason(keyturn) == LoginFailure.TOO_MANY_FAILURES
    keyturn.advance(seconds=8)
    await log_in(keyturn)
    assert failures(keyturn) == 0


async def test_a_login_forgets_the_wrong_passwords_before_it(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    await guess(keyturn, 3)
    assert failures(keyturn) == 3
    await log_in(keyturn)
    assert failures(keyturn) == 0


async def test_guesses_during_the_wait_are_not_looked_at_and_prolong_nothing(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    await guess(keyturn, 6)
    await guess(keyturn, 200)
    assert failures(keyturn) == 6
    keyturn.advance(seconds=1)
    await log_in(keyturn)


async def test_waiting_costs_the_same_work_as_a_wrong_password() -> None:
    hasher = PlainPasswordHasher()
    keyturn = InMemoryKeyturn(hasher=hasher)
    await keyturn.register()
    await guess(keyturn, 6)
    before = hasher.verifications
    await guess(keyturn, 1)
    assert hasher.verifications == before + 1


async def test_of_many_guesses_at_once_a_right_one_that_comes_late_does_not_count(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    guesses = [log_in(keyturn, WRONG) for _ in range(50)]
    results = await asyncio.gather(*guesses, log_in(keyturn), return_exceptions=True)
    assert all(isinstance(result, InvalidCredentials) for result in results)
    assert failures(keyturn) == 50


async def test_where_a_thief_was_thrown_out_is_no_known_device(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    await log_in(keyturn, origin=ATTACKER)
    token = await keyturn.forget_password()
    await keyturn.reset_password.execute(ResetPasswordCommand(token, NEW))
    await guess(keyturn, 20)
    assert failures(keyturn) == 6


async def test_the_service_in_memory_keeps_the_device_token_of_each_address(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    await keyturn.login()
    await guess(keyturn, 6)
    with pytest.raises(InvalidCredentials):
        await keyturn.login()
    await keyturn.login(from_known_device=True)


async def test_only_a_reset_opens_an_account_that_was_guessed_at_a_hundred_times(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    for _ in range(100):
        keyturn.advance(minutes=15)
        await guess(keyturn, 1)
    token = await keyturn.forget_password()
    await keyturn.reset_password.execute(ResetPasswordCommand(token, NEW))
    await log_in(keyturn, NEW)


async def test_the_owner_is_told_once_that_new_devices_are_turned_away(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    for _ in range(120):
        keyturn.advance(minutes=15)
        await guess(keyturn, 1)
    kinds = [mail.kind for mail in keyturn.store.mails.values()]
    assert kinds.count(MailKind.LOGIN_BLOCKED) == 1


async def test_an_unknown_address_is_refused_as_often_as_one_likes(
    keyturn: InMemoryKeyturn,
) -> None:
    for _ in range(120):
        with pytest.raises(InvalidCredentials):
            await keyturn.login("nobody@example.com", WRONG)


class CountingThrottle(Throttle):
    """Notes what it is asked, and refuses one action."""

    def __init__(self, refused: ThrottledAction | None = None) -> None:
        self.refused = refused
        self.asked: list[tuple[ThrottledAction, str | None, str | None]] = []

    async def admit(
        self, action: ThrottledAction, *, source: Source | None, account: str | None = None
    ) -> None:
        self.asked.append((action, source, account))
        if action is self.refused:
            raise TooManyAttempts(7)


async def test_every_use_case_that_strangers_call_counts_source_and_account() -> None:
    throttle = CountingThrottle()
    keyturn = InMemoryKeyturn(throttle=throttle)
    origin = Origin("2001:db8::1")
    await keyturn.register_user.execute(RegisterUserCommand(ADA, PASSWORD, origin=origin))
    tokens = await keyturn.login_user.execute(
        LoginUserCommand(ADA.upper(), PASSWORD, origin=origin)
    )
    await keyturn.rotate_refresh.execute(RotateRefreshCommand(tokens.refresh_token, origin))
    await keyturn.request_password_reset.execute(RequestPasswordResetCommand(ADA, origin))
    await keyturn.request_email_verification.execute(RequestEmailVerificationCommand(ADA, origin))
    site = "2001:db8::/64"
    assert throttle.asked == [
        (ThrottledAction.REGISTER, site, ADA),
        (ThrottledAction.LOGIN, site, ADA),
        (ThrottledAction.REFRESH, site, None),
        (ThrottledAction.REFRESH, None, str(tokens.session_id)),
        (ThrottledAction.RESET, site, ADA),
        (ThrottledAction.VERIFY, site, ADA),
    ]


async def test_a_guess_of_the_current_password_counts_as_a_login_of_its_source() -> None:
    hasher, throttle = PlainPasswordHasher(), CountingThrottle()
    keyturn = InMemoryKeyturn(hasher=hasher, throttle=throttle)
    await keyturn.register()
    tokens = await keyturn.login()
    before = hasher.verifications
    throttle.refused = ThrottledAction.LOGIN
    with pytest.raises(TooManyAttempts):
        await keyturn.change_password.execute(
            ChangePasswordCommand(tokens.user_id, tokens.session_id, WRONG, NEW, ATTACKER)
        )
    assert throttle.asked[-1] == (ThrottledAction.LOGIN, ATTACKER.ip, None)
    assert hasher.verifications == before


async def test_trying_links_counts_for_its_source() -> None:
    keyturn = InMemoryKeyturn(throttle=CountingThrottle(ThrottledAction.RESET))
    with pytest.raises(TooManyAttempts):
        await keyturn.reset_password.execute(ResetPasswordCommand(Secret("forged"), NEW, ATTACKER))


async def test_exports_are_counted_for_the_account() -> None:
    throttle = CountingThrottle(ThrottledAction.EXPORT)
    keyturn = InMemoryKeyturn(throttle=throttle)
    await keyturn.register()
    tokens = await keyturn.login()
    with pytest.raises(TooManyAttempts):
        await keyturn.export_account.execute(
            ExportAccountCommand(tokens.user_id, tokens.session_id, ATTACKER)
        )
    assert throttle.asked[-1] == (ThrottledAction.EXPORT, None, str(tokens.user_id))


async def test_a_forged_refresh_token_counts_for_its_source_and_for_no_session() -> None:
    throttle = CountingThrottle()
    keyturn = InMemoryKeyturn(throttle=throttle)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.rotate_refresh.execute(RotateRefreshCommand(Secret("forged"), ATTACKER))
    assert throttle.asked == [(ThrottledAction.REFRESH, ATTACKER.ip, None)]


async def test_who_is_throttled_has_not_used_up_a_refresh_token() -> None:
    throttle = CountingThrottle(ThrottledAction.REFRESH)
    keyturn = InMemoryKeyturn(throttle=throttle)
    await keyturn.register()
    tokens = await keyturn.login()
    with pytest.raises(TooManyAttempts) as refused:
        await keyturn.refresh(tokens.refresh_token)
    assert refused.value.retry_after == 7
    throttle.refused = None
    await keyturn.refresh(tokens.refresh_token)


async def test_who_is_throttled_costs_no_hash() -> None:
    hasher = PlainPasswordHasher()
    keyturn = InMemoryKeyturn(hasher=hasher, throttle=CountingThrottle(ThrottledAction.LOGIN))
    with pytest.raises(TooManyAttempts):
        await keyturn.login()
    assert hasher.verifications == 0
