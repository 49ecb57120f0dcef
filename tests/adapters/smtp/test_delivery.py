"""From a request to a mail server: each mail once, and again where nobody knows."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Protocol

import pytest

from keyturn.adapters.smtp.mailer import SmtpMailer, SmtpTls
from keyturn.domain.mail import MAX_ATTEMPTS_TO_SEND, Mail
from keyturn.ports.mail import Mailer
from keyturn.testing.doubles import ManualClock
from keyturn.testing.in_memory import ADA, InMemoryKeyturn
from keyturn.use_cases.deliver_mail import CLAIMED_FOR


class Received(Protocol):
    recipients: list[str]
    message: EmailMessage


class MailServer(Protocol):
    port: int
    received: list[Received]
    answers: dict[str, str]


Serve = Callable[..., AbstractAsyncContextManager[MailServer]]


class Died(BaseException):
    """The process is gone."""


class DyingMailer(Mailer):
    """Hands a mail over, and dies before it can say so."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer
        self.dies = True

    async def send(self, mail: Mail) -> None:
        await self._mailer.send(mail)
        if self.dies:
            raise Died


def mailer(port: int) -> SmtpMailer:
    clock = ManualClock(datetime(2030, 1, 31, tzinfo=UTC))
    return SmtpMailer(
        sender="no-reply@example.com", host="localhost", port=port, tls=SmtpTls.NONE, clock=clock
    )


async def test_a_mail_server_that_is_down_delays_a_mail_and_fails_no_request(
    mail_server: Serve,
) -> None:
    async with mail_server() as server:
        pass
    keyturn = InMemoryKeyturn(mailer=mailer(server.port))
    await keyturn.register()
    await keyturn.deliver_mail.execute()
    assert await keyturn.deliver_mail.execute() == 0, "it waits before it tries again"
    [waiting] = keyturn.store.mails.values()
    assert waiting.failure == "The mail server can't be reached: ConnectionRefusedError."

    async with mail_server(server):
        keyturn.advance(minutes=1)
        assert await keyturn.deliver_mail.execute() == 1
        keyturn.advance(hours=1)
        assert await keyturn.deliver_mail.execute() == 0
    [received] = server.received
    assert received.recipients == [ADA]


async def test_a_mail_that_is_refused_is_dead_until_an_operator_retries_it(
    mail_server: Serve,
) -> None:
    async with mail_server() as server:
        keyturn = InMemoryKeyturn(mailer=mailer(server.port))
        await keyturn.register()
        server.answers["RCPT"] = "550 5.1.1 nobody: {address}"
        await keyturn.deliver_mail.execute()
        keyturn.advance(days=1)
        assert await keyturn.deliver_mail.execute() == 0
        [dead] = keyturn.store.mails.values()
        assert dead.dead_at is not None
        assert dead.failure == "The mail server refuses the mail: 550 5.1.1."

        del server.answers["RCPT"]
        await keyturn.mail_queue.revive(dead.id, keyturn.clock.now())
        assert await keyturn.deliver_mail.execute() == 1
    assert len(server.received) == 1
    assert keyturn.store.mails == {}


async def test_a_mail_is_given_up_in_the_end(closed_port: int) -> None:
    keyturn = InMemoryKeyturn(mailer=mailer(closed_port))
    await keyturn.register()
    for _ in range(MAX_ATTEMPTS_TO_SEND):
        assert await keyturn.deliver_mail.execute() == 1
        keyturn.advance(hours=1)
    assert await keyturn.deliver_mail.execute() == 0
    [dead] = keyturn.store.mails.values()
    assert dead.dead_at is not None


async def test_a_worker_that_dies_after_sending_has_the_mail_sent_again(
    mail_server: Serve,
) -> None:
    async with mail_server() as server:
        dying = DyingMailer(mailer(server.port))
        keyturn = InMemoryKeyturn(mailer=dying)
        await keyturn.register()
        with pytest.raises(Died):
            await keyturn.deliver_mail.execute()
        dying.dies = False
        assert await keyturn.deliver_mail.execute() == 0, "the worker may be alive"
        keyturn.clock.advance(CLAIMED_FOR)
        assert await keyturn.deliver_mail.execute() == 1
        assert await keyturn.deliver_mail.execute() == 0
    first, second = (received.message["Message-ID"] for received in server.received)
    assert first == second, "so that a server can see the repetition"
