"""Somebody logs in on a device."""

import asyncio

import pytest

from keyturn.domain.errors import (
    HashingBusy,
    InvalidCredentials,
    InvalidScope,
    PasswordTooLong,
    Unavailable,
)
from keyturn.domain.events import Origin
from keyturn.domain.policies import ClaimsPolicy, SessionPolicy
from keyturn.domain.refresh_token_family import Device, RevokeReason
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE, Source
from keyturn.domain.user import UserStatus
from keyturn.testing.doubles import OpaqueTokenCodec, PlainPasswordHasher
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.login_user import LoginUserCommand

WRONG = Secret("not the right password")


async def test_a_login_gives_tokens_of_a_new_session(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    tokens = await keyturn.login()
    claims = keyturn.authenticate_access.execute(tokens.access_token)
    refresh = keyturn.codec.decode_refresh(tokens.refresh_token)
    assert claims.user_id == refresh.user_id == tokens.user_id == user.id
    assert claims.session_id == refresh.family_id == tokens.session_id
    assert claims.roles == {"user"}
    assert claims.permissions == frozenset({"profile:read", "profile:write"})
    assert claims.epoch == user.epoch
    assert claims.scope is None


async def test_the_tokens_say_how_long_they_live(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    assert (tokens.expires_in, tokens.refresh_after) == (900, 720)
    assert tokens.refresh_expires_in == 7 * 24 * 3600


async def test_the_address_logs_in_whatever_its_case(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    assert (await keyturn.login("ADA@example.COM")).user_id == user.id


async def test_a_password_logs_in_however_its_accents_are_composed(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register(password=Secret("caf\u00e9 au lait, please"))
    await keyturn.login(password=Secret("cafe\u0301 au lait, please"))


async def test_unknown_wrong_and_disabled_fail_alike_after_the_same_work() -> None:
    hasher = PlainPasswordHasher()
    keyturn = InMemoryKeyturn(hasher=hasher)
    await keyturn.register()
    disabled = await keyturn.register("eve@example.com")
    await keyturn.set_status(disabled, UserStatus.DISABLED)
    failures = []
    for email, password in [
        ("nobody@example.com", PASSWORD),
        (ADA, WRONG),
        ("eve@example.com", PASSWORD),
        ("eve@example.com", WRONG),
    ]:
        before = hasher.verifications
        with pytest.raises(InvalidCredentials) as failure:
            await keyturn.login(email, password)
        failures.append((failure.value.detail, hasher.verifications - before))
    assert set(failures) == {(InvalidCredentials.message, 1)}


async def test_a_failed_login_starts_no_session(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    with pytest.raises(InvalidCredentials):
        await keyturn.login(password=WRONG)
    assert keyturn.store.families == {}


async def test_a_password_that_nobody_can_have_is_refused(keyturn: InMemoryKeyturn) -> None:
    with pytest.raises(PasswordTooLong):
        await keyturn.login(password=Secret("p" * 1024 * 1024))


async def test_the_session_keeps_its_device_and_client(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    tokens = await keyturn.login_user.execute(
        LoginUserCommand(
            ADA, PASSWORD, "Ada's phone", Origin("192.0.2.1", "agent/1.0"), client_id="mobile"
        )
    )
    family = keyturn.store.families[tokens.session_id]
    assert family.device == Device("Ada's phone", "agent/1.0", "192.0.2.1")
    assert family.client_id == "mobile"


async def test_a_scope_limits_the_session_to_what_the_user_may_do(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    wide = frozenset({"profile:read", "users:write"})
    tokens = await keyturn.login_user.execute(LoginUserCommand(ADA, PASSWORD, scope=wide))
    claims = keyturn.authenticate_access.execute(tokens.access_token)
    assert claims.scope == tokens.scope == frozenset({"profile:read"})


async def test_a_scope_of_which_nothing_is_left_is_refused(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    with pytest.raises(InvalidScope):
        await keyturn.login_user.execute(
            LoginUserCommand(ADA, PASSWORD, scope=frozenset({"users:write"}))
        )
    assert keyturn.store.families == {}


@pytest.mark.parametrize(
    ("policy", "roles", "permissions"),
    [
        (ClaimsPolicy.ROLES, frozenset({"user"}), None),
        (
            ClaimsPolicy.ROLES_AND_PERMISSIONS,
            frozenset({"user"}),
            frozenset({"profile:read", "profile:write"}),
        ),
        (ClaimsPolicy.NONE, frozenset[str](), None),
    ],
)
async def test_the_claims_policy_decides_what_the_token_says(
    policy: ClaimsPolicy, roles: frozenset[str], permissions: frozenset[str] | None
) -> None:
    keyturn = InMemoryKeyturn(claims_policy=policy)
    await keyturn.register()
    tokens = await keyturn.login()
    claims = keyturn.authenticate_access.execute(tokens.access_token)
    assert (claims.roles, claims.permissions) == (roles, permissions)


async def test_a_login_beyond_the_limit_evicts_the_least_recently_used_session() -> None:
    keyturn = InMemoryKeyturn(session_policy=SessionPolicy(max_sessions=2))
    await keyturn.register()
    first = await keyturn.login()
    keyturn.advance(seconds=1)
    second = await keyturn.login()
    keyturn.advance(seconds=1)
    await keyturn.refresh(first.refresh_token)
    keyturn.advance(seconds=1)
    third = await keyturn.login()
    reasons = {f.id: f.revoke_reason for f in keyturn.store.families.values()}
    assert reasons == {
        first.session_id: None,
        second.session_id: RevokeReason.EVICTED,
        third.session_id: None,
    }


async def test_many_logins_at_once_never_leave_more_sessions_than_the_limit() -> None:
    keyturn = InMemoryKeyturn(session_policy=SessionPolicy(max_sessions=3))
    await keyturn.register()
    logins = await asyncio.gather(*(keyturn.login() for _ in range(8)), return_exceptions=True)
    now = keyturn.clock.now()
    live = [f for f in keyturn.store.families.values() if f.is_live(now)]
    assert len(live) == 3
    assert all(not isinstance(r, BaseException) or isinstance(r, Unavailable) for r in logins)


async def test_a_hash_of_older_parameters_is_renewed_at_login() -> None:
    keyturn = InMemoryKeyturn(hasher=PlainPasswordHasher(rounds=1))
    user = await keyturn.register()
    newer = InMemoryKeyturn(hasher=PlainPasswordHasher(rounds=2), unit_of_work=keyturn.unit_of_work)
    await newer.login()
    renewed = keyturn.store.users[user.id].password_hash
    assert not newer.hasher.needs_rehash(renewed)
    assert await newer.hasher.verify(renewed, PASSWORD, source=UNKNOWN_SOURCE)
    assert keyturn.store.users[user.id].epoch == user.epoch


async def test_a_busy_hasher_puts_off_the_renewal_and_not_the_login() -> None:
    class BusyHasher(PlainPasswordHasher):
        async def hash(self, password: Secret, *, source: Source = UNKNOWN_SOURCE) -> str:
            raise HashingBusy

    keyturn = InMemoryKeyturn()
    user = await keyturn.register()
    busy = InMemoryKeyturn(hasher=BusyHasher(rounds=2), unit_of_work=keyturn.unit_of_work)
    await busy.login()
    assert keyturn.store.users[user.id].password_hash == user.password_hash


async def test_a_user_disabled_while_the_password_is_checked_does_not_get_in() -> None:
    keyturn = InMemoryKeyturn()
    user = await keyturn.register()

    class SlowHasher(PlainPasswordHasher):
        async def verify(
            self, password_hash: str | None, password: Secret, *, source: Source = UNKNOWN_SOURCE
        ) -> bool:
            verified = await super().verify(password_hash, password, source=source)
            if self.verifications == 1:
                await keyturn.set_status(user, UserStatus.DISABLED)
            return verified

    slow = InMemoryKeyturn(hasher=SlowHasher(), unit_of_work=keyturn.unit_of_work)
    with pytest.raises(InvalidCredentials):
        await slow.login()
    assert keyturn.store.families == {}


async def test_a_password_changed_while_the_old_one_is_checked_does_not_let_it_in() -> None:
    keyturn = InMemoryKeyturn()
    user = await keyturn.register()
    session = await keyturn.login()

    class SlowHasher(PlainPasswordHasher):
        async def verify(
            self, password_hash: str | None, password: Secret, *, source: Source = UNKNOWN_SOURCE
        ) -> bool:
            verified = await super().verify(password_hash, password, source=source)
            if self.verifications == 1:
                await keyturn.change_password.execute(
                    ChangePasswordCommand(
                        user.id, session.session_id, PASSWORD, Secret("another long password")
                    )
                )
            return verified

    slow = InMemoryKeyturn(hasher=SlowHasher(), unit_of_work=keyturn.unit_of_work)
    with pytest.raises(InvalidCredentials):
        await slow.login()
    assert set(keyturn.store.families) == {session.session_id}


async def test_a_key_that_cannot_be_reached_starts_no_session() -> None:
    class UnreachableKey(OpaqueTokenCodec):
        async def encode_refresh(self, claims: object) -> Secret:
            raise Unavailable

    keyturn = InMemoryKeyturn(codec=UnreachableKey())
    await keyturn.register()
    with pytest.raises(Unavailable):
        await keyturn.login()
    assert keyturn.store.families == {}
