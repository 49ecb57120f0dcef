"""A worker sends the mails that are due."""

import asyncio

import pytest

from keyturn.domain.errors import MailRefused, MailUnavailable
from keyturn.domain.mail import MAX_ATTEMPTS_TO_SEND, Mail
from keyturn.domain.secret import Secret
from keyturn.ports.mail import Mailer
from keyturn.testing.in_memory import ADA, InMemoryKeyturn
from keyturn.use_cases.confirm_email import ConfirmEmailCommand
from keyturn.use_cases.deliver_mail import BATCH, CLAIMED_FOR


class BrokenMailer(Mailer):
    """Fails as it is told to."""

    def __init__(self) -> None:
        self.error: BaseException | None = MailUnavailable("connection refused")
        self.sent: list[Mail] = []

    async def send(self, mail: Mail) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(mail)


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


async def test_after_ten_failures_a_mail_is_dead_until_it_is_revived() -> None:
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
    await keyturn.confirm_email.execute(ConfirmEmailCommand(Secret(mail.text)))
    assert keyturn.store.users[user.id].email_verified_at is not None
