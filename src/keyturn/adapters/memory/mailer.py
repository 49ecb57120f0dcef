"""A mailer that keeps what it sends."""

from keyturn.domain.mail import Mail
from keyturn.ports.mail import Mailer


class MemoryMailer(Mailer):
    """Appends mails to a list."""

    def __init__(self, sent: list[Mail]) -> None:
        """Append to `sent`."""
        self._sent = sent

    async def send(self, mail: Mail) -> None:
        self._sent.append(mail)
