"""Somebody follows the link that shows that an address is theirs."""

import asyncio
from dataclasses import replace

import pytest

from keyturn.adapters.memory.throttle import Unthrottled
from keyturn.adapters.memory.unit_of_work import MemoryUnitOfWork
from keyturn.domain.errors import (
    EmailTaken,
    InvalidCredentials,
    InvalidEmail,
    InvalidOneTimeToken,
    TooManyAttempts,
    WrongCurrentPassword,
)
from keyturn.domain.events import AuditEventType, LoginFailure, Origin
from keyturn.domain.login_policy import LoginPolicy
from keyturn.domain.mail import MailKind
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE, Source
from keyturn.domain.user import UserStatus
from keyturn.ports.throttling import ThrottledAction
from keyturn.testing.doubles import PlainPasswordHasher
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.confirm_email import ConfirmEmailCommand
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.request_email_change import RequestEmailChangeCommand
from keyturn.use_cases.request_email_verification import RequestEmailVerificationCommand
from keyturn.use_cases.reset_password import ResetPasswordCommand

NEW = "ada@new.example.com"
HOME = Origin("203.0.113.7")
NEW_PASSWORD = Secret("a wholly different passphrase")


async def confirm(keyturn: InMemoryKeyturn, token: Secret) -> None:
    await keyturn.confirm_email.execute(ConfirmEmailCommand(token))


async def ask_for_change(
    keyturn: InMemoryKeyturn, new_email: str = NEW, password: Secret = PASSWORD
) -> None:
    tokens = await keyturn.login()
    await keyturn.request_email_change.execute(
        RequestEmailChangeCommand(tokens.user_id, tokens.session_id, password, new_email)
    )


async def sent(keyturn: InMemoryKeyturn) -> list[tuple[str, str]]:
    before = len(keyturn.sent_mails)
    await keyturn.deliver_mail.execute()
    return [(mail.to, mail.subject) for mail in keyturn.sent_mails[before:]]


async def test_who_registers_is_sent_a_link_that_verifies_the_address(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    assert user.email_verified_at is None
    await confirm(keyturn, await keyturn.token_of_next_mail())
    assert keyturn.store.users[user.id].email_verified_at == keyturn.clock.now()
    assert AuditEventType.EMAIL_VERIFIED in {
        event.type for event in keyturn.store.audit_events.values()
    }


async def test_a_link_verifies_once_and_for_a_day(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    token = await keyturn.token_of_next_mail()
    await confirm(keyturn, token)
    with pytest.raises(InvalidOneTimeToken):
        await confirm(keyturn, token)
    await keyturn.register("bob@example.com")
    late = await keyturn.token_of_next_mail()
    keyturn.advance(hours=24)
    with pytest.raises(InvalidOneTimeToken):
        await confirm(keyturn, late)


async def test_who_asks_again_is_sent_another_link_unless_the_address_is_verified(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    await keyturn.deliver_mail.execute()
    await keyturn.request_email_verification.execute(RequestEmailVerificationCommand(ADA))
    await confirm(keyturn, await keyturn.token_of_next_mail())
    for address in (ADA, "nobody@example.com"):
        await keyturn.request_email_verification.execute(RequestEmailVerificationCommand(address))
    assert await sent(keyturn) == []


async def test_a_disabled_user_verifies_nothing(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    token = await keyturn.token_of_next_mail()
    await keyturn.set_status(user, UserStatus.DISABLED)
    with pytest.raises(InvalidOneTimeToken):
        await confirm(keyturn, token)


async def test_where_it_is_required_only_a_verified_user_logs_in_and_nobody_is_told_why() -> None:
    keyturn = InMemoryKeyturn(login_policy=LoginPolicy(requires_verified_email=True))
    await keyturn.register()
    await keyturn.deliver_mail.execute()
    with pytest.raises(InvalidCredentials) as unverified:
        await keyturn.login()
    with pytest.raises(InvalidCredentials) as unknown:
        await keyturn.login("nobody@example.com")
    assert str(unverified.value) == str(unknown.value)
    reasons = [e.details.get("reason") for e in keyturn.store.audit_events.values()]
    assert LoginFailure.EMAIL_NOT_VERIFIED in reasons
    # The right password has the link sent again.
    await confirm(keyturn, await keyturn.token_of_next_mail())
    await keyturn.login()


async def test_a_new_address_counts_once_its_link_is_followed_and_the_old_one_is_told(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    await keyturn.deliver_mail.execute()
    await ask_for_change(keyturn)
    token = await keyturn.token_of_next_mail()
    assert [(mail.to, mail.subject) for mail in keyturn.sent_mails[-2:]] == [
        (NEW, MailKind.CONFIRM_NEW_EMAIL),
        (ADA, MailKind.EMAIL_CHANGE_REQUESTED),
    ]
    assert keyturn.store.users[user.id].email == ADA
    await confirm(keyturn, token)
    changed = keyturn.store.users[user.id]
    assert (changed.email, changed.email_verified_at) == (NEW, keyturn.clock.now())
    assert await sent(keyturn) == [(ADA, MailKind.EMAIL_CHANGED)]
    await keyturn.login(NEW)
    with pytest.raises(InvalidCredentials):
        await keyturn.login(ADA)


async def test_a_change_of_address_needs_the_password(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    await keyturn.deliver_mail.execute()
    with pytest.raises(WrongCurrentPassword):
        await ask_for_change(keyturn, password=Secret("a guess of whoever stole the token"))
    assert await sent(keyturn) == []
    assert keyturn.store.users[user.id].failed_logins == 1


async def test_guesses_with_a_stolen_token_end_where_those_of_strangers_do(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens = await keyturn.login_user.execute(LoginUserCommand(ADA, PASSWORD, origin=HOME))
    wrong = RequestEmailChangeCommand(
        tokens.user_id, tokens.session_id, Secret("a guess of a thief"), NEW
    )
    right = replace(wrong, current_password=PASSWORD)
    guesses = (keyturn.request_email_change.execute(wrong) for _ in range(500))
    results = await asyncio.gather(
        *guesses, keyturn.request_email_change.execute(right), return_exceptions=True
    )
    assert {type(result) for result in results} == {WrongCurrentPassword}
    with pytest.raises(WrongCurrentPassword):
        await keyturn.request_email_change.execute(right)
    kinds = [mail.kind for mail in keyturn.store.mails.values()]
    assert kinds.count(MailKind.LOGIN_BLOCKED) == 1
    # The owner's own device goes on as ever, and so does the change after a login there.
    await keyturn.login_user.execute(
        LoginUserCommand(ADA, PASSWORD, origin=HOME, device_token=tokens.device_token)
    )
    await keyturn.request_email_change.execute(right)


async def test_a_password_that_is_changed_while_it_is_looked_at_counts_no_more() -> None:
    class SlowHasher(PlainPasswordHasher):
        async def verify(
            self, password_hash: str | None, password: Secret, *, source: Source = UNKNOWN_SOURCE
        ) -> bool:
            verified = await super().verify(password_hash, password, source=source)
            await keyturn.reset_password.execute(ResetPasswordCommand(reset, NEW_PASSWORD))
            return verified

    keyturn = InMemoryKeyturn(hasher=SlowHasher())
    user = await keyturn.register()
    reset = await keyturn.forget_password()
    with pytest.raises(WrongCurrentPassword):
        await keyturn.request_email_change.execute(
            RequestEmailChangeCommand(user.id, keyturn.ids.family_id(), PASSWORD, NEW)
        )


async def test_a_right_password_does_not_overtake_the_guess_that_was_the_last() -> None:
    class RacingUnitOfWork(MemoryUnitOfWork):
        async def commit(self) -> None:
            user = await self.users.get(registered.id)
            if user is not None and user.failed_logins == 0:
                # Of all guesses that are under way, the last is noted just before this.
                most = keyturn.login_policy.failures_from_anywhere
                guessed = replace(user, failed_logins=most, version=user.version + 1)
                keyturn.store.users[user.id] = guessed
            await super().commit()

    quiet = InMemoryKeyturn()
    registered = await quiet.register()
    keyturn = InMemoryKeyturn(unit_of_work=lambda: RacingUnitOfWork(keyturn.store))
    keyturn.store = quiet.store
    with pytest.raises(WrongCurrentPassword):
        await keyturn.request_email_change.execute(
            RequestEmailChangeCommand(registered.id, keyturn.ids.family_id(), PASSWORD, NEW)
        )


async def test_what_cannot_be_an_address_is_refused(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    with pytest.raises(InvalidEmail):
        await ask_for_change(keyturn, "not an address")


async def test_the_owner_of_a_taken_address_is_told_and_whoever_asks_is_not(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    await keyturn.register(NEW)
    await keyturn.deliver_mail.execute()
    await ask_for_change(keyturn)
    assert await sent(keyturn) == [
        (NEW, MailKind.ALREADY_REGISTERED),
        (ADA, MailKind.EMAIL_CHANGE_REQUESTED),
    ]


async def test_an_address_that_was_taken_meanwhile_stays_with_who_has_it(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    await keyturn.deliver_mail.execute()
    await ask_for_change(keyturn)
    token = await keyturn.token_of_next_mail()
    await keyturn.register(NEW)
    with pytest.raises(EmailTaken):
        await confirm(keyturn, token)
    assert keyturn.store.users[user.id].email == ADA


async def test_a_thiefs_change_of_address_dies_with_the_password_sent_or_not(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    await keyturn.deliver_mail.execute()
    await ask_for_change(keyturn)
    sent_before = await keyturn.token_of_next_mail()
    await ask_for_change(keyturn)
    tokens = await keyturn.login()
    await keyturn.change_password.execute(
        ChangePasswordCommand(user.id, tokens.session_id, PASSWORD, NEW_PASSWORD)
    )
    with pytest.raises(InvalidOneTimeToken):
        await confirm(keyturn, sent_before)
    assert NEW not in {to for to, _ in await sent(keyturn)}


async def test_an_old_link_that_verifies_is_void_after_a_change_of_address(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    old = await keyturn.token_of_next_mail()
    await ask_for_change(keyturn)
    await confirm(keyturn, await keyturn.token_of_next_mail())
    with pytest.raises(InvalidOneTimeToken):
        await confirm(keyturn, old)


async def test_a_change_of_address_makes_void_what_was_asked_for_before(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    await keyturn.deliver_mail.execute()
    await ask_for_change(keyturn, "ada@other.example.com")
    other = await keyturn.token_of_next_mail()
    await ask_for_change(keyturn)
    await confirm(keyturn, await keyturn.token_of_next_mail())
    with pytest.raises(InvalidOneTimeToken):
        await confirm(keyturn, other)
    assert keyturn.store.users[user.id].email == NEW


async def test_a_login_that_waits_for_a_verified_address_fills_nobodys_mailbox() -> None:
    class Exhausted(Unthrottled):
        async def admit(
            self, action: ThrottledAction, *, source: str | None, account: str | None = None
        ) -> None:
            if (action, source, account) == (ThrottledAction.VERIFY, None, ADA):
                raise TooManyAttempts(60)

    keyturn = InMemoryKeyturn(
        login_policy=LoginPolicy(requires_verified_email=True), throttle=Exhausted()
    )
    await keyturn.register()
    keyturn.store.mails.clear()
    with pytest.raises(InvalidCredentials):
        await keyturn.login()
    await keyturn.deliver_mail.execute()
    assert keyturn.store.mails == {}
    assert keyturn.sent_mails == []


async def test_a_disabled_users_links_are_void_when_the_user_is_enabled_again(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    token = await keyturn.token_of_next_mail()
    await keyturn.set_status(user, UserStatus.DISABLED)
    await keyturn.set_status(user, UserStatus.ACTIVE)
    with pytest.raises(InvalidOneTimeToken):
        await confirm(keyturn, token)
