"""Shows mails on the terminal instead of sending them."""

import sys
from typing import TextIO

from keyturn.domain.errors import MailUnavailable
from keyturn.domain.mail import Mail
from keyturn.ports.mail import Mailer


class ConsoleMailer(Mailer):
    """Prints the text of each mail with its link, for development: whoever reads it can use it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Print to a stream, standard output by default."""
        self._stream = stream

    async def send(self, mail: Mail) -> None:
        stream = self._stream or sys.stdout
        shown = _printable(
            f"\n---- mail to {_one_line(mail.to)}\n"
            f"Subject: {_one_line(mail.subject)}\n\n{mail.text}----\n"
        )
        encoding = stream.encoding or "utf-8"
        try:
            stream.write(shown.encode(encoding, "replace").decode(encoding))
            stream.flush()
        except (OSError, ValueError) as error:
            raise MailUnavailable("The terminal is closed.") from error


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _printable(text: str) -> str:
    # What a user chose must not steer a developer's terminal.
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
