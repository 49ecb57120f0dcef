"""A worker sends the mails that are due."""

import asyncio

import pytest

from keyturn.adapters.memory.mailer import MemoryMailer
from keyturn.adapters.memory.throttle import Unthrottled
from keyturn.domain.errors import (
    InvalidRefreshToken,
    MailRefused,
    MailUnavailable,
    TooManyAttempts,
)
from keyturn.domain.mail import MAX_ATTEMPTS_TO_SEND, Letter, Mail, MailKind
from keyturn.domain.one_time_token import OneTimeTokenPolicy
from keyturn.domain.secret import Secret
from keyturn.domain.user import UserStatus
from keyturn.ports.mail import Mailer
from keyturn.ports.throttling import ThrottledAction
from keyturn.testing.doubles import PlainLetterWriter
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.confirm_email import ConfirmEmailCommand
from keyturn.use_cases.deliver_mail import BATCH, CLAIMED_FOR, DeliverMail
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.request_email_change import RequestEmailChangeCommand
from keyturn.use_cases.request_email_verification import RequestEmailVerificationCommand
from keyturn.use_cases.request_password_reset import RequestPasswordResetCommand
from keyturn.use_cases.reset_password import ResetPasswordCommand

NEW = Secret("a wholly different passphrase")


class BrokenMailer(Mailer):
    """Fails as it is told to."""

    def __init__(self) -> None:
        self.error: BaseException | None = MailUnavailable("connection refused")
        self.sent: list[Mail] = []

    async def send(self, mail: Mail) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(mail)


class LetterKeeper(PlainLetterWriter):
    """Remembers what it was to put into words."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []

    def write(self, letter: Letter) -> Mail:
        self.letters.append(letter)
        return super().write(letter)


async def test_only_who_has_verified_the_address_is_called_by_the_name_and_only_there(
    keyturn: InMemoryKeyturn,
) -> None:
    writer = LetterKeeper()
    deliver = DeliverMail(
        keyturn.mail_queue,
        keyturn.unit_of_work,
        writer,
        MemoryMailer(keyturn.sent_mails),
        keyturn.clock,
        keyturn.ids,
        OneTimeTokenPolicy(),
        Unthrottled(),
    )
    await keyturn.register_user.execute(RegisterUserCommand(ADA, PASSWORD, display_name="Ada"))
    await keyturn.request_email_verification.execute(RequestEmailVerificationCommand(ADA))
    await deliver.execute()
    assert [letter.name for letter in writer.letters] == [None, None]
    token = Secret(keyturn.sent_mails[-1].text)
    await keyturn.confirm_email.execute(ConfirmEmailCommand(token, PASSWORD))
    await keyturn.request_password_reset.execute(RequestPasswordResetCommand(ADA))
    tokens = await keyturn.login()
    await keyturn.request_email_change.execute(
        RequestEmailChangeCommand(tokens.user_id, tokens.session_id, PASSWORD, "eve@example.com")
    )
    del writer.letters[:]
    await deliver.execute()
    assert {(letter.kind, letter.name) for letter in writer.letters} == {
        (MailKind.RESET_PASSWORD, "Ada"),
        (MailKind.EMAIL_CHANGE_REQUESTED, "Ada"),
        (MailKind.CONFIRM_NEW_EMAIL, None),
    }


async def test_a_disabled_user_is_sent_no_link_that_verifies(keyturn: InMemoryKeyturn) -> None:
    await keyturn.set_status(await keyturn.register(), UserStatus.DISABLED)
    await keyturn.deliver_mail.execute()
    assert keyturn.sent_mails == []


async def test_a_mail_that_was_sent_is_gone(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    assert await keyturn.deliver_mail.execute() == 1
    assert [mail.to for mail in keyturn.sent_mails] == [ADA]
    assert keyturn.store.mails == {}
    assert await keyturn.deliver_mail.execute() == 0


async def test_many_workers_send_each_mail_once(keyturn: InMemoryKeyturn) -> None:
    for number in range(3 * BATCH):
        await keyturn.register(f"user{number}@example.com")
    await asyncio.gather(*(keyturn.deliver_mail.execute() for _ in range(6)))
    assert len(keyturn.sent_mails) == len({mail.to for mail in keyturn.sent_mails}) == 3 * BATCH


async def test_a_mail_server_that_is_down_fails_no_request_and_loses_no_mail() -> None:
    mailer = BrokenMailer()
    keyturn = InMemoryKeyturn(mailer=mailer)
    await keyturn.register()
    await keyturn.deliver_mail.execute()
    assert [mail.failure for mail in keyturn.failed_mails] == ["connection refused"]
    mailer.error = None
    assert await keyturn.deliver_mail.execute() == 0
    keyturn.advance(seconds=30)
    assert await keyturn.deliver_mail.execute() == 1
    [mail] = mailer.sent
    assert mail.to == ADA


async def test_after_its_last_failure_a_mail_is_dead_until_it_is_revived() -> None:
    mailer = BrokenMailer()
    keyturn = InMemoryKeyturn(mailer=mailer)
    await keyturn.register()
    for _ in range(MAX_ATTEMPTS_TO_SEND):
        assert await keyturn.deliver_mail.execute() == 1
        keyturn.advance(hours=1)
    [dead] = keyturn.store.mails.values()
    assert dead.dead_at is not None
    assert dead.failure == "connection refused"
    mailer.error = None
    assert await keyturn.deliver_mail.execute() == 0
    assert await keyturn.mail_queue.revive(None, keyturn.clock.now()) == 1
    assert await keyturn.deliver_mail.execute() == 1
    assert keyturn.store.mails == {}


async def test_a_refused_mail_is_dead_at_once_and_the_others_go_on() -> None:
    mailer = BrokenMailer()
    keyturn = InMemoryKeyturn(mailer=mailer)
    await keyturn.register()
    mailer.error = MailRefused()
    await keyturn.deliver_mail.execute()
    mailer.error = None
    await keyturn.register("bob@example.com")
    await keyturn.deliver_mail.execute()
    assert [mail.to for mail in mailer.sent] == ["bob@example.com"]
    [dead] = keyturn.store.mails.values()
    assert dead.dead_at is not None


async def test_the_mails_of_a_worker_that_died_are_sent_by_another() -> None:
    mailer = BrokenMailer()
    mailer.error = asyncio.CancelledError()
    keyturn = InMemoryKeyturn(mailer=mailer)
    await keyturn.register()
    with pytest.raises(asyncio.CancelledError):
        await keyturn.deliver_mail.execute()
    mailer.error = None
    assert await keyturn.deliver_mail.execute() == 0
    keyturn.clock.advance(CLAIMED_FOR)
    await keyturn.deliver_mail.execute()
    [mail] = mailer.sent
    assert mail.to == ADA


async def test_each_attempt_has_a_link_of_its_own_that_works() -> None:
    mailer = BrokenMailer()
    keyturn = InMemoryKeyturn(mailer=mailer)
    user = await keyturn.register()
    await keyturn.deliver_mail.execute()
    mailer.error = None
    keyturn.advance(minutes=1)
    await keyturn.deliver_mail.execute()
    [mail] = mailer.sent
    await keyturn.confirm_email.execute(ConfirmEmailCommand(Secret(mail.text), PASSWORD))
    assert keyturn.store.users[user.id].email_verified_at is not None


async def test_a_mail_that_fails_in_a_way_nobody_thought_of_keeps_back_no_other_and_dies() -> None:
    class Poisoned(BrokenMailer):
        async def send(self, mail: Mail) -> None:
            if mail.to == ADA:
                raise RuntimeError(mail.to)
            self.sent.append(mail)

    mailer = Poisoned()
    keyturn = InMemoryKeyturn(mailer=mailer)
    await keyturn.register()
    await keyturn.register("bob@example.com")
    for _ in range(MAX_ATTEMPTS_TO_SEND):
        await keyturn.deliver_mail.execute()
        keyturn.advance(hours=1)
    assert [mail.to for mail in mailer.sent] == ["bob@example.com"]
    [dead] = keyturn.store.mails.values()
    assert (dead.failure, dead.dead_at is not None) == ("RuntimeError", True)


async def test_a_mail_that_kills_each_worker_is_given_up_in_the_end() -> None:
    mailer = BrokenMailer()
    mailer.error = asyncio.CancelledError()
    keyturn = InMemoryKeyturn(mailer=mailer)
    await keyturn.register()
    for _ in range(MAX_ATTEMPTS_TO_SEND):
        with pytest.raises(asyncio.CancelledError):
            await keyturn.deliver_mail.execute()
        keyturn.clock.advance(CLAIMED_FOR)
    await keyturn.deliver_mail.execute()
    [dead] = keyturn.store.mails.values()
    assert dead.dead_at is not None


async def test_an_address_that_nobody_has_verified_is_not_filled_with_notices() -> None:
    class Exhausted(Unthrottled):
        async def admit(
            self, action: ThrottledAction, *, source: str | None, account: str | None = None
        ) -> None:
            if (action, account) == (ThrottledAction.NOTICE, ADA):
                raise TooManyAttempts(60)

    keyturn = InMemoryKeyturn(throttle=Exhausted())
    user = await keyturn.register()
    await keyturn.deliver_mail.execute()
    keyturn.sent_mails.clear()

    async def change_password() -> None:
        tokens = await keyturn.login()
        await keyturn.change_password.execute(
            ChangePasswordCommand(user.id, tokens.session_id, PASSWORD, PASSWORD)
        )

    await change_password()
    await keyturn.deliver_mail.execute()
    assert keyturn.sent_mails == []
    await keyturn.request_email_verification.execute(RequestEmailVerificationCommand(ADA))
    token = await keyturn.token_of_next_mail()
    await keyturn.confirm_email.execute(ConfirmEmailCommand(token, PASSWORD))
    await change_password()
    await keyturn.deliver_mail.execute()
    assert keyturn.sent_mails[-1].subject == MailKind.PASSWORD_CHANGED


async def test_the_owner_of_an_address_that_a_stranger_registered_first_gets_a_link_to_take_it(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    thief = await keyturn.login()
    await keyturn.deliver_mail.execute()
    owner = Secret("the password of the owner")
    await keyturn.register_user.execute(RegisterUserCommand(ADA, owner, hides_taken_address=True))
    link = await keyturn.token_of_next_mail()
    await keyturn.reset_password.execute(ResetPasswordCommand(link, owner))
    await keyturn.login(password=owner)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(thief.refresh_token)
