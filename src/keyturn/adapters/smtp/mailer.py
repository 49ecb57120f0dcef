"""Hands mails over to a mail server."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import make_msgid
from enum import StrEnum
from typing import TYPE_CHECKING

from keyturn.domain.errors import KeyturnError, MailRefused, MailUnavailable
from keyturn.domain.mail import Mail
from keyturn.domain.secret import Secret
from keyturn.ports.mail import Mailer
from keyturn.ports.system import Clock

if TYPE_CHECKING:
    from aiosmtplib import SMTP, SMTPResponseException

MAX_TIMEOUT = timedelta(minutes=1)
"""A worker that sends a batch counts on no mail taking longer."""

# What else a local part may hold, it holds in quotes; hardly a server takes it then.
_LOCAL_PART = re.compile(r'[^\s"(),:;<>@\[\\\]]{1,64}')
_ASCII_DOMAIN = re.compile(r"[A-Za-z0-9._-]{1,253}")

_NAME_AND_ADDRESS = re.compile(r"([^<>]*?) *<([^<>]+)>")

_ENHANCED_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\b")
_AUTHENTICATION_REQUIRED = 530


class SmtpTls(StrEnum):
    """How the connection to a mail server is protected."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


class SmtpMailer(Mailer):
    """Sends each mail over a connection of its own.

    Certificates are checked against those that the machine trusts; the variable `SSL_CERT_FILE`
    names others. A server that wants to go on without the TLS that was asked for is not spoken to.
    """

    def __init__(
        self,
        *,
        sender: str,
        host: str,
        clock: Clock,
        port: int | None = None,
        tls: SmtpTls = SmtpTls.STARTTLS,
        username: str | None = None,
        password: Secret | None = None,
        timeout: timedelta = timedelta(seconds=20),
    ) -> None:
        """Send by one mail server.

        Args:
            sender: whom the mails are from: `Example <no-reply@example.com>`, or the address.
            host: the server's name, for which its certificate must be good.
            clock: dates the mails.
            port: the usual one by default: 587, 465 with `tls`, 25 with `none`.
            tls: how the connection is protected.
            username: None for a server that takes mails as they come.
            password: what belongs to it.
            timeout: for handing over one mail, from the connection on.

        Raises:
            ValueError: the sender can't send, a password would go in the clear, or the timeout is
                too long.
        """
        if tls is SmtpTls.NONE and username is not None:
            raise ValueError("a username and password need TLS")
        if (username is None) != (password is None):
            raise ValueError("a username needs a password, and a password a username")
        if not timedelta(0) < timeout <= MAX_TIMEOUT:
            raise ValueError(f"the timeout must be at most {MAX_TIMEOUT.seconds} seconds")
        self._sender = _sender(sender)
        self._host = host
        self._port = port
        self._tls = tls
        self._username = username
        self._password = password
        self._timeout = timeout.total_seconds()
        self._clock = clock
        # It reads every certificate that the machine trusts: once is enough.
        self._tls_context = None if tls is SmtpTls.NONE else ssl.create_default_context()

    async def send(self, mail: Mail) -> None:
        message, recipient = self._message(mail)

        async def hand_over(client: "SMTP") -> None:
            await client.send_message(message, sender=self._sender.addr_spec, recipients=recipient)

        await self._speak(hand_over)

    async def check(self) -> None:
        """Return if the server answers, with the TLS and for the username that it is asked for.

        Raises:
            MailUnavailable, MailRefused: it does not; the text says why.
        """

        async def say_nothing(client: "SMTP") -> None:
            await client.noop()

        await self._speak(say_nothing)

    async def _speak(self, say: Callable[["SMTP"], Awaitable[None]]) -> None:
        # Loaded by who sends mails; the other commands do without.
        from aiosmtplib import SMTP, SMTPException  # noqa: PLC0415 - lazily

        client = SMTP(
            hostname=self._host,
            port=self._port,
            username=self._username,
            password=None if self._password is None else self._password.reveal(),
            # The machine's own name costs a look-up, and tells what is nobody's business.
            local_hostname=self._sender.domain,
            timeout=self._timeout,
            use_tls=self._tls is SmtpTls.TLS,
            start_tls=self._tls is SmtpTls.STARTTLS,
            tls_context=self._tls_context,
        )
        try:
            try:
                async with asyncio.timeout(self._timeout):
                    await client.connect()
                    await say(client)
            except (SMTPException, OSError, ValueError) as error:
                # The server's words quote addresses, and so do the errors that hold them.
                raise _told(error) from None
            # The mail is theirs now: however they say goodbye, it must not be sent again.
            with suppress(SMTPException, OSError):
                await client.quit()
        finally:
            client.close()

    def _message(self, mail: Mail) -> tuple[EmailMessage, str]:
        message = EmailMessage()
        try:
            recipient = _address(mail.to)
            message["From"] = self._sender
            message["To"] = recipient
            message["Subject"] = mail.subject
            message["Date"] = self._clock.now()
            message["Message-ID"] = (
                make_msgid(domain=self._sender.domain)
                if mail.message_id is None
                else f"<{mail.message_id}@{self._sender.domain}>"
            )
            # RFC 3834 §5: no answer from a machine, please.
            message["Auto-Submitted"] = "auto-generated"
            # Lines of any length and letter arrive as they are, whatever servers are on the way.
            message.set_content(mail.text, cte="quoted-printable")
            message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
        except ValueError:
            raise MailRefused("The mail can't be sent to such an address, or as it is.") from None
        return message, recipient.addr_spec


def _sender(text: str) -> Address:
    found = _NAME_AND_ADDRESS.fullmatch(text)
    name, address = found.groups() if found else ("", text)
    try:
        sender = _address(address, name.strip('"'))
        if text.isprintable() and sender.addr_spec.isascii():
            return sender
    except ValueError:
        pass
    raise ValueError(f"{text!r} can't send: it must be of the form `Name <name@example.com>`")


def _address(text: str, name: str = "") -> Address:
    """Return an address that means the same in a header and to a server.

    Raises:
        ValueError: it is no address, or one that hardly a server takes.
    """
    local_part, _, domain = text.rpartition("@")
    if not _LOCAL_PART.fullmatch(local_part) or not local_part.isprintable():
        raise ValueError
    if not _ASCII_DOMAIN.fullmatch(domain):
        import idna  # noqa: PLC0415 - its tables take longer to load than most mails to send

        domain = idna.encode(domain, uts46=True).decode("ascii")
    return Address(name, local_part, domain)


def _told(error: Exception) -> KeyturnError:
    """Return what an error comes to, in words that hold nothing of anybody."""
    from aiosmtplib import (  # noqa: PLC0415 - lazily
        SMTPAuthenticationError,
        SMTPDataError,
        SMTPException,
        SMTPNotSupported,
        SMTPRecipientRefused,
        SMTPRecipientsRefused,
        SMTPResponseException,
        SMTPSenderRefused,
    )

    if isinstance(error, SMTPRecipientsRefused):
        [error] = error.recipients
    cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    match cause:
        case SMTPNotSupported():
            return MailRefused("The mail server takes no address with such letters (SMTPUTF8).")
        case SMTPRecipientRefused() | SMTPDataError():
            # Authentication that is wanted and not configured is no fault of the recipient's.
            if cause.code >= 500 and cause.code != _AUTHENTICATION_REQUIRED:
                return MailRefused(f"The mail server refuses the mail: {_status(cause)}.")
            return MailUnavailable(f"The mail server does not take the mail now: {_status(cause)}.")
        case SMTPAuthenticationError():
            return MailUnavailable(
                f"The mail server refuses the username or the password: {_status(cause)}."
            )
        case SMTPSenderRefused():
            return MailUnavailable(f"The mail server refuses the sender: {_status(cause)}.")
        case SMTPResponseException():
            return MailUnavailable(f"The mail server answers {_status(cause)}.")
        case TimeoutError():
            return MailUnavailable("The mail server does not answer in time.")
        case ssl.SSLCertVerificationError():
            return MailUnavailable(
                f"The certificate of the mail server is not trusted: {cause.verify_message}."
            )
        case SMTPException() if type(cause) is SMTPException:
            # What the library says itself: that something is not offered, such as STARTTLS.
            return MailUnavailable(f"The mail server can't be used: {cause.message}")
        case _:
            reason = type(cause.__cause__ or cause).__name__
            return MailUnavailable(f"The mail server can't be reached: {reason}.")


def _status(error: "SMTPResponseException") -> str:
    enhanced = _ENHANCED_STATUS.match(error.message)
    return str(error.code) if enhanced is None else f"{error.code} {enhanced[0]}"
