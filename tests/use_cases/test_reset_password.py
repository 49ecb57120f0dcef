"""Somebody sets a new password by the link in a mail."""

import asyncio
from dataclasses import replace

import pytest

from keyturn.domain.errors import (
    InvalidAccessToken,
    InvalidCredentials,
    InvalidOneTimeToken,
    InvalidRefreshToken,
    PasswordTooShort,
)
from keyturn.domain.events import AuditEventType, Origin
from keyturn.domain.mail import MailKind
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE, Source
from keyturn.domain.user import UserStatus
from keyturn.testing.doubles import PlainPasswordHasher
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.confirm_email import ConfirmEmailCommand
from keyturn.use_cases.request_email_verification import RequestEmailVerificationCommand
from keyturn.use_cases.request_password_reset import RequestPasswordResetCommand
from keyturn.use_cases.reset_password import ResetPasswordCommand

NEW = Secret("a wholly different passphrase")


async def reset(keyturn: InMemoryKeyturn, token: Secret, password: Secret = NEW) -> None:
    await keyturn.reset_password.execute(ResetPasswordCommand(token, password, Origin("192.0.2.1")))


async def test_the_link_sets_a_password_and_the_old_one_is_worth_nothing(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    await reset(keyturn, await keyturn.forget_password())
    await keyturn.login(password=NEW)
    with pytest.raises(InvalidCredentials):
        await keyturn.login()


async def test_a_reset_ends_every_session_and_its_access_tokens_and_tells_the_user(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    thief = await keyturn.login()
    await reset(keyturn, await keyturn.forget_password())
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(thief.refresh_token)
    with pytest.raises(InvalidAccessToken):
        keyturn.authenticate_access.execute(thief.access_token)
    keyturn.sent_mails.clear()
    await keyturn.deliver_mail.execute()
    [told] = keyturn.sent_mails
    assert (told.to, told.subject) == (ADA, MailKind.PASSWORD_CHANGED)
    events = [event.type for event in keyturn.store.audit_events.values()]
    assert AuditEventType.PASSWORD_RESET_REQUESTED in events
    assert AuditEventType.PASSWORD_RESET in events


async def test_a_link_works_once(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    token = await keyturn.forget_password()
    await reset(keyturn, token)
    with pytest.raises(InvalidOneTimeToken):
        await reset(keyturn, token, Secret("what a thief would like"))
    await keyturn.login(password=NEW)


async def test_of_many_who_follow_one_link_at_once_one_succeeds(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    token = await keyturn.forget_password()
    results = await asyncio.gather(
        *(reset(keyturn, token, Secret(f"password of racer {n:02}")) for n in range(10)),
        return_exceptions=True,
    )
    assert [result for result in results if result is None] == [None]
    assert sum(isinstance(result, InvalidOneTimeToken) for result in results) == 9


async def test_one_reset_voids_every_other_link(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    first = await keyturn.forget_password()
    second = await keyturn.forget_password()
    await reset(keyturn, second)
    with pytest.raises(InvalidOneTimeToken):
        await reset(keyturn, first)


async def test_a_changed_password_voids_the_link(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    tokens = await keyturn.login()
    link = await keyturn.forget_password()
    await keyturn.change_password.execute(
        ChangePasswordCommand(user.id, tokens.session_id, PASSWORD, NEW)
    )
    with pytest.raises(InvalidOneTimeToken):
        await reset(keyturn, link, Secret("what a thief would like"))


async def test_a_link_is_void_when_its_time_is_over(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    token = await keyturn.forget_password()
    keyturn.advance(minutes=30)
    with pytest.raises(InvalidOneTimeToken):
        await reset(keyturn, token)


async def test_a_link_that_verifies_an_address_resets_no_password_nor_the_other_way_round(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    await keyturn.request_email_verification.execute(RequestEmailVerificationCommand(ADA))
    verification = await keyturn.token_of_next_mail()
    with pytest.raises(InvalidOneTimeToken):
        await reset(keyturn, verification)
    with pytest.raises(InvalidOneTimeToken):
        await keyturn.confirm_email.execute(ConfirmEmailCommand(await keyturn.forget_password()))


async def test_a_password_against_the_policy_does_not_use_up_the_link(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    token = await keyturn.forget_password()
    with pytest.raises(PasswordTooShort):
        await reset(keyturn, token, Secret("short"))
    await reset(keyturn, token)


async def test_a_made_up_link_costs_no_hash() -> None:
    class CountingHasher(PlainPasswordHasher):
        hashes = 0

        async def hash(self, password: Secret, *, source: Source = UNKNOWN_SOURCE) -> str:
            self.hashes += 1
            return await super().hash(password, source=source)

    hasher = CountingHasher()
    keyturn = InMemoryKeyturn(hasher=hasher)
    with pytest.raises(InvalidOneTimeToken):
        await reset(keyturn, Secret("made up"))
    assert hasher.hashes == 0


async def test_who_resets_the_password_has_verified_the_address(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    await reset(keyturn, await keyturn.forget_password())
    assert keyturn.store.users[user.id].email_verified_at == keyturn.clock.now()


async def test_nobody_is_sent_anything_for_an_unknown_or_disabled_account(
    keyturn: InMemoryKeyturn,
) -> None:
    disabled = await keyturn.register("eve@example.com")
    await keyturn.deliver_mail.execute()
    keyturn.sent_mails.clear()
    await keyturn.set_status(disabled, UserStatus.DISABLED)
    for address in ("nobody@example.com", "eve@example.com"):
        await keyturn.request_password_reset.execute(RequestPasswordResetCommand(address))
    await keyturn.deliver_mail.execute()
    assert keyturn.sent_mails == []
    assert keyturn.store.mails == {}


async def test_asking_does_the_same_whether_or_not_there_is_an_account(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    keyturn.store.mails.clear()
    for address in (ADA, "nobody@example.com"):
        await keyturn.request_password_reset.execute(RequestPasswordResetCommand(address))
    known, unknown = keyturn.store.mails.values()
    assert replace(known, id=unknown.id, address=unknown.address) == unknown
    assert keyturn.store.one_time_tokens == {}


async def test_the_mail_goes_to_the_address_as_it_is_stored_not_as_a_stranger_writes_it(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register("strasse@example.com")
    await keyturn.deliver_mail.execute()
    keyturn.sent_mails.clear()
    await keyturn.request_password_reset.execute(
        RequestPasswordResetCommand("stra\u00dfe@example.com")
    )
    await keyturn.deliver_mail.execute()
    assert {mail.to for mail in keyturn.sent_mails} == {"strasse@example.com"}


async def test_what_is_stored_of_a_link_does_not_work_as_one(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    token = await keyturn.forget_password()
    stored = repr([keyturn.store.one_time_tokens, keyturn.store.mails, keyturn.store.audit_events])
    assert token.reveal() not in stored
    for digest in list(keyturn.store.one_time_tokens):
        with pytest.raises(InvalidOneTimeToken):
            await reset(keyturn, Secret(digest))
