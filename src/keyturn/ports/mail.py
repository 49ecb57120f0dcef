"""How mails are kept, worded and sent."""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from keyturn.domain.ids import MailId
from keyturn.domain.mail import Letter, Mail, QueuedMail


class MailQueue(Protocol):
    """The mails that units of work have put into their outbox, for those who send them.

    Any number of processes send at the same time. Whoever claims a mail has it for itself until
    the time that it names; a process that dies has its mails claimed by another one after that,
    so that each mail is sent at least once, and once as long as nobody dies.

    Every method raises `StoreUnavailable` if the store does not answer.
    """

    @abstractmethod
    async def claim(self, now: datetime, until: datetime, limit: int) -> Sequence[QueuedMail]:
        """Take and return at most `limit` mails whose next attempt is due, those due first first.

        Each is stored as `mail.claimed(until)` and returned so. No mail is returned to two of any
        number of concurrent callers. Dead mails are never due.
        """

    @abstractmethod
    async def remove(self, mail: QueuedMail) -> bool:
        """Remove a mail that was sent, or need not be.

        Returns:
            False, and nothing is changed, if it is gone or somebody else has claimed it since:
            its stored `attempts` are others.
        """

    @abstractmethod
    async def put_back(self, mail: QueuedMail) -> bool:
        """Store a mail as `mail.failed(...)` made it; see `remove` for what is returned."""

    @abstractmethod
    async def list_page(
        self, *, only_dead: bool, after: MailId | None, limit: int
    ) -> Sequence[QueuedMail]:
        """Return at most `limit` mails, lowest id first, from the first one past `after`."""

    @abstractmethod
    async def revive(self, mail_id: MailId | None, now: datetime) -> int:
        """Make a dead mail, or with None all of them, due at `now` with no attempts made.

        Returns:
            How many were dead.
        """


class LetterWriter(Protocol):
    """Puts a letter into words."""

    @abstractmethod
    def write(self, letter: Letter) -> Mail:
        """Return the mail, without any I/O that could hang.

        Raises:
            LetterUnwritable: there is no template for it, or the template is wrong.
        """


class Mailer(Protocol):
    """Sends mails."""

    @abstractmethod
    async def send(self, mail: Mail) -> None:
        """Hand a mail over for delivery; return when somebody else has taken it on.

        Raises:
            MailRefused: nobody will ever take it on, such as one to an address that no server
                accepts.
            MailUnavailable: it could not be handed over now.
        """
