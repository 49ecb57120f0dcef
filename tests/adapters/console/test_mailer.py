"""In development, a mail and its link appear on the terminal."""

from io import BytesIO, StringIO, TextIOWrapper

import pytest

from keyturn.adapters.console.mailer import ConsoleMailer
from keyturn.domain.errors import MailUnavailable
from keyturn.domain.mail import Mail

LINK = "http://localhost:8000/verify#token=t0ken"
MAIL = Mail("ada@example.com", "Confirm", f"Hello ☕\n\n{LINK}\n", "<p>Hello</p>")


async def test_a_mail_is_shown_with_its_link(capsys: pytest.CaptureFixture[str]) -> None:
    await ConsoleMailer().send(MAIL)
    assert capsys.readouterr().out == (
        f"\n---- mail to ada@example.com\nSubject: Confirm\n\nHello ☕\n\n{LINK}\n----\n"
    )


async def test_a_mail_does_not_steer_the_terminal() -> None:
    stream = StringIO()
    await ConsoleMailer(stream).send(
        Mail("ada@example.com\x1b[2J", "Con\nfirm\r", "Hello \x1b]0;x\x07\n", "")
    )
    shown = stream.getvalue()
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "Subject: Con firm\n" in shown


async def test_a_terminal_of_few_letters_shows_what_it_can() -> None:
    written = BytesIO()
    terminal = TextIOWrapper(written, encoding="ascii")
    await ConsoleMailer(terminal).send(MAIL)
    assert f"Hello ?\n\n{LINK}" in written.getvalue().decode()


async def test_a_closed_terminal_is_no_reason_to_lose_the_mail() -> None:
    stream = StringIO()
    stream.close()
    with pytest.raises(MailUnavailable):
        await ConsoleMailer(stream).send(MAIL)
