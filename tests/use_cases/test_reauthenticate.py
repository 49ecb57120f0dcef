"""Somebody proves again who they are, for what a session that is open for long may not do."""

import asyncio
from datetime import timedelta

import pytest

from keyturn.domain.claims import AccessClaims
from keyturn.domain.errors import (
    InvalidAccessToken,
    LoginTooOld,
    TooManyAttempts,
    WrongCurrentPassword,
)
from keyturn.domain.events import AuditEventType, Origin
from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE, Source
from keyturn.domain.user import UserStatus
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.testing.doubles import PlainPasswordHasher
from keyturn.testing.in_memory import ADA, ISSUER, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.reauthenticate import ReauthenticateCommand
from keyturn.use_cases.revoke_family import RevokeFamilyCommand
from keyturn.use_cases.token_pair import AccessToken

WRONG = Secret("not the right password")


def read(keyturn: InMemoryKeyturn, token: AccessToken) -> AccessClaims:
    audiences = frozenset({ISSUER})
    return keyturn.codec.decode_access(token.token, keyturn.clock.now(), audiences=audiences)


async def arrive(keyturn: InMemoryKeyturn, scope: frozenset[str] | None = None) -> Principal:
    """Register somebody who logged in some minutes ago."""
    await keyturn.register()
    pair = await keyturn.login_user.execute(LoginUserCommand(ADA, PASSWORD, scope=scope))
    keyturn.advance(minutes=6)
    return keyturn.authenticate_access.execute(pair.access_token)


async def reauthenticate(
    keyturn: InMemoryKeyturn, principal: Principal, password: Secret = PASSWORD
) -> AccessToken:
    return await keyturn.reauthenticate.execute(ReauthenticateCommand(principal, password))


async def test_the_token_is_for_the_issuer_and_says_that_the_proof_is_new(
    keyturn: InMemoryKeyturn,
) -> None:
    principal = await arrive(keyturn)
    token = await reauthenticate(keyturn, principal)
    claims = read(keyturn, token)
    assert claims.audience == ISSUER
    assert claims.auth_time == keyturn.clock.now()
    assert (claims.user_id, claims.family_id) == (principal.user_id, principal.session_id)
    assert claims.client_id == principal.client_id
    assert token.expires_in == 900
    assert claims.token_id != principal.token_id


async def test_it_is_recent_for_five_minutes(keyturn: InMemoryKeyturn) -> None:
    token = (await reauthenticate(keyturn, await arrive(keyturn))).token
    rule = keyturn.resources.sensitive
    keyturn.advance(minutes=5)
    keyturn.authenticate_access.execute(token, rule=rule)
    keyturn.advance(seconds=1)
    with pytest.raises(LoginTooOld) as caught:
        keyturn.authenticate_access.execute(token, rule=rule)
    assert caught.value.max_age == 300


async def test_the_session_stays_as_it_was(keyturn: InMemoryKeyturn) -> None:
    principal = await arrive(keyturn)
    before = keyturn.store.families[principal.session_id]
    await reauthenticate(keyturn, principal)
    assert keyturn.store.families[principal.session_id] == before
    [event] = [
        event
        for event in keyturn.store.audit_events.values()
        if event.type is AuditEventType.REAUTHENTICATED
    ]
    assert (event.actor, event.session) == (principal.user_id, principal.session_id)


@pytest.mark.parametrize("scope", [None, frozenset({"profile:read"})])
async def test_the_scope_is_that_of_the_presented_token(
    keyturn: InMemoryKeyturn, scope: frozenset[str] | None
) -> None:
    principal = await arrive(keyturn, scope)
    assert read(keyturn, await reauthenticate(keyturn, principal)).scope == scope


async def test_it_does_not_outlive_the_session(keyturn: InMemoryKeyturn) -> None:
    principal = await arrive(keyturn)
    session = keyturn.store.families[principal.session_id]
    keyturn.clock.set(session.expires_at - timedelta(minutes=1))
    assert (await reauthenticate(keyturn, principal)).expires_in == 60


async def test_a_thief_of_an_access_token_guesses_as_little_as_at_a_login(
    keyturn: InMemoryKeyturn,
) -> None:
    principal = await arrive(keyturn)
    for _ in range(keyturn.login_policy.failures_from_anywhere):
        with pytest.raises(WrongCurrentPassword):
            await reauthenticate(keyturn, principal, WRONG)
    assert keyturn.store.users[principal.user_id].failed_logins == 90
    with pytest.raises(WrongCurrentPassword):
        await reauthenticate(keyturn, principal)


class Counting(Throttle):
    """Counts, and refuses the third."""

    def __init__(self) -> None:
        self.sources: list[str | None] = []

    async def admit(
        self, action: ThrottledAction, *, source: str | None, account: str | None = None
    ) -> None:
        if action is ThrottledAction.LOGIN and account is None:
            self.sources.append(source)
            if len(self.sources) > 2:
                raise TooManyAttempts(7)


async def test_attempts_from_one_source_are_throttled_as_logins_are() -> None:
    throttle = Counting()
    keyturn = InMemoryKeyturn(throttle=throttle)
    principal = await arrive(keyturn)
    command = ReauthenticateCommand(principal, PASSWORD, Origin("203.0.113.7"))
    for _ in range(2):
        await keyturn.reauthenticate.execute(command)
    with pytest.raises(TooManyAttempts):
        await keyturn.reauthenticate.execute(command)
    assert set(throttle.sources) == {"203.0.113.7"}


@pytest.mark.parametrize("ending", ["logged out", "disabled", "erased", "expired"])
async def test_a_session_that_has_ended_gets_no_token(
    keyturn: InMemoryKeyturn, ending: str
) -> None:
    principal = await arrive(keyturn)
    await end(keyturn, principal, ending)
    with pytest.raises(InvalidAccessToken):
        await reauthenticate(keyturn, principal)


class SlowHasher(PlainPasswordHasher):
    """Verifies once a test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.is_slow = False

    async def verify(
        self, password_hash: str | None, password: Secret, *, source: Source = UNKNOWN_SOURCE
    ) -> bool:
        if self.is_slow:
            self.asked.set()
            await self.may_answer.wait()
        return await super().verify(password_hash, password, source=source)


@pytest.mark.parametrize("ending", ["logged out", "disabled", "erased", "expired", "new password"])
async def test_a_session_that_ends_while_the_password_is_checked_gets_no_token(ending: str) -> None:
    hasher = SlowHasher()
    keyturn = InMemoryKeyturn(hasher=hasher)
    principal = await arrive(keyturn)
    hasher.is_slow = True
    racing = asyncio.ensure_future(reauthenticate(keyturn, principal))
    await hasher.asked.wait()
    hasher.is_slow = False
    await end(keyturn, principal, ending)
    hasher.may_answer.set()
    with pytest.raises((InvalidAccessToken, WrongCurrentPassword)):
        await racing


async def end(keyturn: InMemoryKeyturn, principal: Principal, ending: str) -> None:
    user = keyturn.store.users[principal.user_id]
    match ending:
        case "logged out":
            await keyturn.revoke_family.execute(RevokeFamilyCommand(principal))
        case "disabled":
            await keyturn.set_status(user, UserStatus.DISABLED)
        case "erased":
            async with keyturn.unit_of_work() as uow:
                uow.users.erase(user)
                await uow.commit()
        case "expired":
            keyturn.advance(days=7)
        case "new password":
            await keyturn.change_password.execute(
                ChangePasswordCommand(
                    user.id, principal.session_id, PASSWORD, Secret("seven quiet glaciers")
                )
            )
        case _:
            raise AssertionError(ending)
