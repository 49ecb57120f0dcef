"""Somebody makes an account."""

import asyncio
from dataclasses import replace

import pytest

from keyturn.domain.errors import (
    EmailTaken,
    HashingBusy,
    InvalidEmail,
    PasswordTooCommon,
    PasswordTooShort,
)
from keyturn.domain.mail import MailKind
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE, Source
from keyturn.domain.user import USER_ROLE, UserStatus
from keyturn.testing.doubles import FixedBlocklist, PlainPasswordHasher
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.confirm_email import ConfirmEmailCommand
from keyturn.use_cases.register_user import RegisterUserCommand


async def test_a_new_user_is_active_has_the_role_user_and_can_log_in(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register_user.execute(RegisterUserCommand(ADA, PASSWORD, "Ada"))
    assert user.status is UserStatus.ACTIVE
    assert user.roles == {USER_ROLE}
    assert user.display_name == "Ada"
    assert user.created_at == keyturn.clock.now()
    assert (await keyturn.login()).user_id == user.id


async def test_an_address_that_an_operator_vouches_for_is_verified_without_a_mail(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register_user.execute(
        RegisterUserCommand(ADA, PASSWORD, email_is_verified=True)
    )
    assert user.email_verified_at == keyturn.clock.now()
    assert keyturn.store.mails == {}


async def test_the_password_is_stored_only_as_a_hash(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    assert PASSWORD.reveal() not in user.password_hash
    assert await keyturn.hasher.verify(user.password_hash, PASSWORD, source=UNKNOWN_SOURCE)


@pytest.mark.parametrize("spelling", [ADA, "ADA@EXAMPLE.COM"])
async def test_an_address_registers_once_whatever_its_case(
    keyturn: InMemoryKeyturn, spelling: str
) -> None:
    await keyturn.register()
    with pytest.raises(EmailTaken):
        await keyturn.register(spelling)


async def test_of_many_who_register_one_address_at_once_one_succeeds(
    keyturn: InMemoryKeyturn,
) -> None:
    results = await asyncio.gather(*(keyturn.register() for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, EmailTaken) for result in results) == 19
    assert len(keyturn.store.users) == 1


async def test_a_password_against_the_policy_is_refused_and_nothing_is_stored(
    keyturn: InMemoryKeyturn,
) -> None:
    with pytest.raises(PasswordTooShort):
        await keyturn.register(password=Secret("too short"))
    assert keyturn.store.users == {}


async def test_a_common_password_is_refused() -> None:
    keyturn = InMemoryKeyturn(blocklist=FixedBlocklist(PASSWORD.reveal()))
    with pytest.raises(PasswordTooCommon):
        await keyturn.register()


async def test_what_cannot_be_an_address_is_refused(keyturn: InMemoryKeyturn) -> None:
    with pytest.raises(InvalidEmail):
        await keyturn.register("not an address")


async def test_a_busy_hasher_registers_nobody() -> None:
    class BusyHasher(PlainPasswordHasher):
        async def hash(self, password: Secret, *, source: Source = UNKNOWN_SOURCE) -> str:
            raise HashingBusy

    keyturn = InMemoryKeyturn(hasher=BusyHasher())
    with pytest.raises(HashingBusy):
        await keyturn.register()
    assert keyturn.store.users == {}


async def test_a_taken_address_costs_a_hash_too() -> None:
    class CountingHasher(PlainPasswordHasher):
        hashes = 0

        async def hash(self, password: Secret, *, source: Source = UNKNOWN_SOURCE) -> str:
            self.hashes += 1
            return await super().hash(password, source=source)

    hasher = CountingHasher()
    keyturn = InMemoryKeyturn(hasher=hasher)
    await keyturn.register()
    with pytest.raises(EmailTaken):
        await keyturn.register()
    assert hasher.hashes == 2


async def test_where_it_is_hidden_whoever_registers_a_taken_address_sees_what_a_new_one_shows(
    keyturn: InMemoryKeyturn,
) -> None:
    owner = await keyturn.register()
    keyturn.store.mails.clear()
    command = RegisterUserCommand(ADA.upper(), PASSWORD, "Eve", hides_taken_address=True)
    shown = await keyturn.register_user.execute(command)
    fresh = await keyturn.register_user.execute(replace(command, email="eve@example.com"))
    assert (
        replace(shown, id=fresh.id, email=fresh.email, password_hash=fresh.password_hash) == fresh
    )
    assert shown.id not in keyturn.store.users
    assert keyturn.store.users[owner.id] == owner
    assert [mail.kind for mail in keyturn.store.mails.values()] == [
        MailKind.ALREADY_REGISTERED,
        MailKind.VERIFY_EMAIL,
    ]


async def test_of_many_who_register_one_address_at_once_nobody_is_told_who_was_first(
    keyturn: InMemoryKeyturn,
) -> None:
    command = RegisterUserCommand(ADA, PASSWORD, hides_taken_address=True)
    await asyncio.gather(*(keyturn.register_user.execute(command) for _ in range(20)))
    assert len(keyturn.store.users) == 1
    kinds = [mail.kind for mail in keyturn.store.mails.values()]
    assert kinds.count(MailKind.VERIFY_EMAIL) == 1
    assert kinds.count(MailKind.ALREADY_REGISTERED) == 19


async def test_a_mail_to_the_owner_names_nobody_who_used_the_address(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    token = await keyturn.token_of_next_mail()
    await keyturn.confirm_email.execute(ConfirmEmailCommand(token, PASSWORD))
    await keyturn.register_user.execute(
        RegisterUserCommand(ADA, PASSWORD, "Click https://evil.example", hides_taken_address=True)
    )
    await keyturn.deliver_mail.execute()
    told = keyturn.sent_mails[-1]
    assert (told.to, told.subject, told.text) == (ADA, MailKind.ALREADY_REGISTERED, "")
