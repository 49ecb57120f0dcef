"""Mails by SMTP, to a real server: what arrives, and what happens when nothing does."""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import pytest

from keyturn.adapters.smtp.mailer import SmtpMailer, SmtpTls
from keyturn.domain.errors import KeyturnError, MailRefused, MailUnavailable
from keyturn.domain.ids import MailId
from keyturn.domain.mail import Mail
from keyturn.domain.secret import Secret
from keyturn.testing.doubles import ManualClock

FROM = "Tea & Cake <no-reply@example.com>"
LINK = "https://app.example.com/verify#token=" + "t0ken" * 40
MAIL = Mail(
    "ada@example.org",
    "Grüße von Tea & Cake",
    f"Hello Ada,\n\n{LINK}\n\n.\nfrom us: ☕\n",
    f"<p>Hello Ada ☕</p><a href='{LINK}'>here</a>\n",
    MailId(UUID(int=7)),
)
ACCOUNT = ("keyturn", "a password of its own")


class Received(Protocol):
    sender: str | None
    recipients: list[str]
    options: list[str]
    message: EmailMessage
    over_tls: bool
    username: str | None


class MailServer(Protocol):
    port: int
    received: list[Received]
    answers: dict[str, str]
    offers_utf8: bool
    account: tuple[str, str] | None


class Certificates(Protocol):
    authority: Path
    server: Any


Serve = Callable[..., AbstractAsyncContextManager[MailServer]]


def mailer(
    port: int,
    tls: SmtpTls = SmtpTls.NONE,
    account: tuple[str, str] | None = None,
    *,
    host: str = "localhost",
    timeout: timedelta = timedelta(seconds=60),
) -> SmtpMailer:
    return SmtpMailer(
        sender=FROM,
        host=host,
        port=port,
        tls=tls,
        username=None if account is None else account[0],
        password=None if account is None else Secret(account[1]),
        timeout=timeout,
        clock=ManualClock(datetime(2030, 1, 31, 12, tzinfo=UTC)),
    )


def to(address: str) -> Mail:
    return Mail(address, MAIL.subject, MAIL.text, MAIL.html, MAIL.message_id)


async def failure_of(sending: SmtpMailer, mail: Mail = MAIL) -> KeyturnError:
    """Send what can't be sent, and see that the error tells of nobody."""
    with pytest.raises((MailRefused, MailUnavailable)) as failed:
        await sending.send(mail)
    told = repr(failed.value)
    for secret in (mail.to, "ada", "t0ken", *ACCOUNT):
        assert secret not in told
    assert failed.value.__suppress_context__
    return failed.value


async def test_a_mail_arrives_as_it_was_meant(mail_server: Serve) -> None:
    async with mail_server() as server:
        await mailer(server.port).send(MAIL)
    [received] = server.received
    assert received.sender == "no-reply@example.com"
    assert received.recipients == ["ada@example.org"]
    assert not received.over_tls
    message = received.message
    assert message["From"] == FROM
    assert message["To"] == "ada@example.org"
    assert message["Subject"] == MAIL.subject
    assert message["Date"].datetime == datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert message["Message-ID"] == "<00000000-0000-0000-0000-000000000007@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert [content_of(part) for part in message.iter_parts()] == [MAIL.text, MAIL.html]


async def test_a_mail_that_is_sent_again_has_the_same_message_id(mail_server: Serve) -> None:
    async with mail_server() as server:
        sending = mailer(server.port)
        await sending.send(MAIL)
        await sending.send(MAIL)
    first, second = (received.message["Message-ID"] for received in server.received)
    assert first == second


async def test_a_mail_without_an_id_gets_one(mail_server: Serve) -> None:
    async with mail_server() as server:
        await mailer(server.port).send(Mail("ada@example.org", "Hello", "Hello", "Hello"))
    assert server.received[0].message["Message-ID"].endswith("@example.com>")


async def test_a_text_that_looks_like_the_end_of_a_mail_is_only_text(mail_server: Serve) -> None:
    smuggled = "Hello\n.\nMAIL FROM:<eve@example.com>\n.\r.\n\n..\nend\n"
    async with mail_server() as server:
        await mailer(server.port).send(Mail("ada@example.org", "Hello", smuggled, smuggled))
    [received] = server.received
    text = content_of(received.message.get_payload(0))
    assert text.replace("\r", "\n") == smuggled.replace("\r", "\n")


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("where", ["to", "subject"])
async def test_a_header_that_is_smuggled_in_is_refused(
    where: str, end: str, mail_server: Serve
) -> None:
    injected = f"{end}Bcc: eve@example.com"
    mail = Mail(
        MAIL.to + (injected if where == "to" else ""),
        MAIL.subject + (injected if where == "subject" else ""),
        MAIL.text,
        MAIL.html,
    )
    async with mail_server() as server:
        assert isinstance(await failure_of(mailer(server.port), mail), MailRefused)
    assert server.received == []


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.org, eve@example.com",
        "ada@example.org,eve@example.com",
        "eve@example.com <ada@example.org>",
        "<ada@example.org>",
        "ada@example.org> SIZE=1",
        '"ada,eve"@example.org',
        "ada (eve)@example.org",
        "ada\x00@example.org",
        "ada@exam ple.org",
        "ada@[192.0.2.1]",
        "ada@",
        "@example.org",
        "ada",
        "",
        "ada@" + "☕" * 70 + ".example",
        "a" * 65 + "@example.org",
    ],
)
async def test_what_is_no_plain_address_is_refused(address: str, mail_server: Serve) -> None:
    async with mail_server() as server:
        with pytest.raises(MailRefused):
            await mailer(server.port).send(to(address))
    assert server.received == []


async def test_an_address_in_any_script_arrives_where_the_server_takes_it(
    mail_server: Serve,
) -> None:
    async with mail_server() as server:
        await mailer(server.port).send(to("用户@例子.example"))
    [received] = server.received
    assert received.recipients == ["用户@xn--fsqu00a.example"]
    assert "SMTPUTF8" in received.options
    assert received.message["To"] == "用户@xn--fsqu00a.example"


async def test_an_address_in_another_script_is_refused_by_a_server_that_does_not(
    mail_server: Serve,
) -> None:
    async with mail_server() as server:
        server.offers_utf8 = False
        failed = await failure_of(mailer(server.port), to("用户@例子.example"))
    assert isinstance(failed, MailRefused)


async def test_a_domain_in_another_script_arrives_at_any_server(mail_server: Serve) -> None:
    async with mail_server() as server:
        server.offers_utf8 = False
        await mailer(server.port).send(to("ada@Bücher.example"))
    [received] = server.received
    assert received.recipients == ["ada@xn--bcher-kva.example"]
    assert received.message["Subject"] == MAIL.subject


@pytest.mark.parametrize("tls", [SmtpTls.TLS, SmtpTls.STARTTLS])
async def test_a_mail_goes_over_tls_with_a_password(
    tls: SmtpTls,
    mail_server: Serve,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    async with mail_server(**{tls.value: certificates.server}) as server:
        server.account = ACCOUNT
        await mailer(server.port, tls, ACCOUNT).send(MAIL)
    [received] = server.received
    assert received.over_tls
    assert received.username == ACCOUNT[0]


@pytest.mark.parametrize("tls", [SmtpTls.TLS, SmtpTls.STARTTLS])
async def test_a_server_that_nobody_vouches_for_gets_no_mail(
    tls: SmtpTls, mail_server: Serve, certificates: Certificates
) -> None:
    async with mail_server(**{tls.value: certificates.server}) as server:
        failed = await failure_of(mailer(server.port, tls, ACCOUNT))
    assert isinstance(failed, MailUnavailable)
    assert failed.detail.startswith("The certificate of the mail server is not trusted: ")
    assert server.received == []


@pytest.mark.parametrize("tls", [SmtpTls.TLS, SmtpTls.STARTTLS])
async def test_a_server_that_is_another_one_gets_no_mail(
    tls: SmtpTls,
    mail_server: Serve,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    async with mail_server(**{tls.value: certificates.server}) as server:
        failed = await failure_of(mailer(server.port, tls, ACCOUNT, host="127.0.0.1"))
    assert failed.detail.startswith("The certificate of the mail server is not trusted: ")
    assert server.received == []


async def test_a_server_without_the_tls_that_was_asked_for_gets_no_mail(
    mail_server: Serve,
) -> None:
    async with mail_server() as server:
        failed = await failure_of(mailer(server.port, SmtpTls.STARTTLS, ACCOUNT))
    assert isinstance(failed, MailUnavailable)
    assert "STARTTLS" in failed.detail
    assert server.received == []


async def test_a_wrong_password_is_the_operators_mistake_and_kills_no_mail(
    mail_server: Serve, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    async with mail_server(starttls=certificates.server) as server:
        server.account = (ACCOUNT[0], "another one")
        failed = await failure_of(mailer(server.port, SmtpTls.STARTTLS, ACCOUNT))
    assert isinstance(failed, MailUnavailable)
    assert failed.detail == "The mail server refuses the username or the password: 535 5.7.8."


async def test_a_missing_password_is_the_operators_mistake_too(
    mail_server: Serve, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    async with mail_server(starttls=certificates.server) as server:
        server.account = ACCOUNT
        failed = await failure_of(mailer(server.port, SmtpTls.STARTTLS))
    assert isinstance(failed, MailUnavailable)
    assert failed.detail == "The mail server refuses the sender: 530 5.7.0."


@pytest.mark.parametrize(
    ("command", "answer", "error", "told"),
    [
        (
            "RCPT",
            "550 5.1.1 <{address}>: nobody of that name",
            MailRefused,
            "The mail server refuses the mail: 550 5.1.1.",
        ),
        ("RCPT", "550 no {address}", MailRefused, "The mail server refuses the mail: 550."),
        (
            "RCPT",
            "450 4.2.0 {address} is greylisted",
            MailUnavailable,
            "The mail server does not take the mail now: 450 4.2.0.",
        ),
        (
            "RCPT",
            "530 5.7.0 authenticate first",
            MailUnavailable,
            "The mail server does not take the mail now: 530 5.7.0.",
        ),
        (
            "DATA",
            "554 5.7.1 for ada: spam",
            MailRefused,
            "The mail server refuses the mail: 554 5.7.1.",
        ),
        (
            "DATA",
            "451 4.3.0 try again",
            MailUnavailable,
            "The mail server does not take the mail now: 451 4.3.0.",
        ),
        (
            "MAIL",
            "550 5.7.1 that is not you",
            MailUnavailable,
            "The mail server refuses the sender: 550 5.7.1.",
        ),
        (
            "MAIL",
            "421 4.3.2 going down",
            MailUnavailable,
            "The mail server refuses the sender: 421 4.3.2.",
        ),
    ],
)
async def test_what_a_server_says_decides_whether_to_try_again(
    command: str,
    answer: str,
    error: type[KeyturnError],
    told: str,
    mail_server: Serve,
) -> None:
    async with mail_server() as server:
        server.answers[command] = answer
        failed = await failure_of(mailer(server.port))
    assert isinstance(failed, error)
    assert failed.detail == told
    assert server.received == []


async def test_a_rude_goodbye_does_not_make_it_send_the_mail_again(mail_server: Serve) -> None:
    async with mail_server() as server:
        server.answers["QUIT"] = "500 what?"
        await mailer(server.port).send(MAIL)
    assert len(server.received) == 1


async def test_a_server_that_is_down_is_tried_again(closed_port: int) -> None:
    failed = await failure_of(mailer(closed_port))
    assert isinstance(failed, MailUnavailable)
    assert failed.detail == "The mail server can't be reached: ConnectionRefusedError."


@pytest.mark.parametrize("tls", SmtpTls)
async def test_a_server_that_never_answers_is_not_waited_for(
    tls: SmtpTls, silent_port: int
) -> None:
    failed = await failure_of(mailer(silent_port, tls, timeout=timedelta(milliseconds=100)))
    assert isinstance(failed, MailUnavailable)
    assert failed.detail == "The mail server does not answer in time."


async def test_nothing_of_a_mail_is_logged(
    mail_server: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # the server's own
    async with mail_server() as server:
        await mailer(server.port).send(MAIL)
        server.answers["RCPT"] = "550 no {address}"
        await failure_of(mailer(server.port))
    assert "ada@example.org" not in caplog.text
    assert "t0ken" not in caplog.text


@pytest.mark.parametrize(
    "sender",
    [
        "",
        "nobody",
        "Ada <ada@example.com",
        "ada@example.com, eve@example.com",
        "Tea\nBcc: eve@example.com <ada@example.com>",
        "jürgen@example.com",
        "Tea <ada eve@example.com>",
    ],
)
def test_a_sender_that_can_not_send_is_refused(sender: str) -> None:
    with pytest.raises(ValueError, match="can't send"):
        SmtpMailer(sender=sender, host="localhost", clock=ManualClock())


def test_a_password_does_not_go_in_the_clear() -> None:
    with pytest.raises(ValueError, match="need TLS"):
        mailer(25, SmtpTls.NONE, ACCOUNT)


def test_a_username_and_a_password_belong_together() -> None:
    with pytest.raises(ValueError, match="needs a password"):
        SmtpMailer(sender=FROM, host="localhost", clock=ManualClock(), username="keyturn")


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=61)])
def test_a_mail_has_a_minute_at_most(timeout: timedelta) -> None:
    with pytest.raises(ValueError, match="at most 60 seconds"):
        mailer(25, timeout=timeout)


def content_of(part: object) -> str:
    assert isinstance(part, EmailMessage)
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")
