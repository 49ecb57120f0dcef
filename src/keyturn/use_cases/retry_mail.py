"""An operator has dead mails sent after all."""

from dataclasses import dataclass

from keyturn.domain.errors import MailNotFound
from keyturn.domain.ids import MailId
from keyturn.ports.mail import MailQueue
from keyturn.ports.system import Clock


@dataclass(frozen=True, slots=True)
class RetryMailCommand:
    """Which dead mail; None for all of them."""

    mail_id: MailId | None


class RetryMail:
    """Makes dead mails due, as if they had just been asked for."""

    def __init__(self, queue: MailQueue, clock: Clock) -> None:
        self._queue = queue
        self._clock = clock

    async def execute(self, command: RetryMailCommand) -> int:
        """Return how many mails were dead, and are tried again now.

        Raises:
            MailNotFound: the one that is named is not there, or not dead.
            StoreUnavailable: the store does not answer.
        """
        revived = await self._queue.revive(command.mail_id, self._clock.now())
        if command.mail_id is not None and not revived:
            raise MailNotFound("There is no such dead mail.")
        return revived
