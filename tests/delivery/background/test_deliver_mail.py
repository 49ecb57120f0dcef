"""Every worker sends what is due, and stops when it is told to."""

import asyncio
from datetime import timedelta

import pytest

from keyturn.delivery.background.deliver_mail import DeliverMailRegularly, log_failed_mail
from keyturn.domain.errors import StoreUnavailable
from keyturn.domain.events import Origin
from keyturn.domain.mail import Mail, MailKind, QueuedMail
from keyturn.ports.mail import Mailer
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.deliver_mail import BATCH


class SlowMailer(Mailer):
    """Sends when the test lets it."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.sent: list[Mail] = []

    async def send(self, mail: Mail) -> None:
        self.begun.set()
        await self.may_end.wait()
        self.sent.append(mail)


class Seconds:
    """A sleep whose end the test decides."""

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        self._over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        assert seconds == 1
        self.idle.set()
        await self._over.wait()
        self._over.clear()

    async def one_later(self) -> None:
        self.idle.clear()
        self._over.set()
        await self.idle.wait()


async def ask_for_mails(keyturn: InMemoryKeyturn, number: int) -> None:
    user = await keyturn.register(f"{number}@example.com")
    keyturn.store.mails.clear()
    async with keyturn.unit_of_work() as uow:
        for _ in range(number):
            uow.outbox.add(
                QueuedMail.about(
                    keyturn.ids.mail_id(),
                    MailKind.PASSWORD_CHANGED,
                    user,
                    keyturn.clock.now(),
                    Origin(),
                )
            )
        await uow.commit()


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_sends_all_that_is_due_at_once_and_looks_again_every_second() -> None:
    keyturn, seconds = InMemoryKeyturn(), Seconds()
    await ask_for_mails(keyturn, 2 * BATCH + 1)
    sending = DeliverMailRegularly(keyturn.deliver_mail, seconds.sleep)
    task = asyncio.create_task(sending.forever())
    await seconds.idle.wait()
    assert len(keyturn.sent_mails) == 2 * BATCH + 1
    await ask_for_mails(keyturn, 1)
    await seconds.one_later()
    assert len(keyturn.sent_mails) == 2 * BATCH + 2
    await end(task)


async def test_two_workers_send_each_mail_once() -> None:
    keyturn = InMemoryKeyturn()
    await ask_for_mails(keyturn, 5 * BATCH)
    both = [Seconds(), Seconds()]
    tasks = [
        asyncio.create_task(DeliverMailRegularly(keyturn.deliver_mail, each.sleep).forever())
        for each in both
    ]
    for each in both:
        await each.idle.wait()
    ids = [mail.message_id for mail in keyturn.sent_mails]
    assert len(ids) == len(set(ids)) == 5 * BATCH
    for task in tasks:
        await end(task)


async def test_a_store_that_does_not_answer_costs_a_second_and_not_the_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keyturn, seconds = InMemoryKeyturn(), Seconds()
    await ask_for_mails(keyturn, BATCH)

    async def fail(*_: object) -> list[QueuedMail]:
        raise StoreUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(keyturn.mail_queue, "claim", fail)
        sending = DeliverMailRegularly(keyturn.deliver_mail, seconds.sleep)
        task = asyncio.create_task(sending.forever())
        await seconds.idle.wait()
    assert "sending mails fails" in caplog.text
    await seconds.one_later()
    assert len(keyturn.sent_mails) == BATCH
    assert "sending mails works again" in caplog.text
    await end(task)


async def test_a_worker_that_is_told_to_stop_finishes_the_mail_in_hand() -> None:
    mailer = SlowMailer()
    keyturn = InMemoryKeyturn(mailer=mailer)
    await ask_for_mails(keyturn, 1)
    sending = DeliverMailRegularly(keyturn.deliver_mail, grace=timedelta(hours=1))
    task = asyncio.create_task(sending.forever())
    await mailer.begun.wait()
    task.cancel()
    mailer.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(mailer.sent) == 1
    assert keyturn.store.mails == {}


async def test_a_worker_that_is_told_to_stop_does_not_wait_for_ever() -> None:
    mailer = SlowMailer()
    keyturn = InMemoryKeyturn(mailer=mailer)
    await ask_for_mails(keyturn, 1)
    sending = DeliverMailRegularly(keyturn.deliver_mail, grace=timedelta(0))
    task = asyncio.create_task(sending.forever())
    await mailer.begun.wait()
    await end(task)
    assert mailer.sent == []
    [waiting] = keyturn.store.mails.values()
    assert waiting.next_attempt_at > keyturn.clock.now(), "another worker tries it later"


async def test_the_log_tells_why_a_mail_was_not_sent_but_not_to_whom(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keyturn = InMemoryKeyturn()
    await ask_for_mails(keyturn, 1)
    [mail] = keyturn.store.mails.values()
    for failed in (
        mail.failed(keyturn.clock.now(), "no answer", for_good=False),
        mail.failed(keyturn.clock.now(), "no such address", for_good=True),
    ):
        log_failed_mail(failed)
    waits, dead = caplog.messages
    assert "tried again later: no answer" in waits
    assert "given up: see keyturn outbox: no such address" in dead
    assert mail.address not in caplog.text
