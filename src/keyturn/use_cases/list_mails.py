"""An operator looks at the mails that wait to be sent, or never will be."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyturn.domain.ids import MailId
from keyturn.domain.mail import QueuedMail
from keyturn.ports.mail import MailQueue
from keyturn.use_cases.list_users import MAX_PAGE


@dataclass(frozen=True, slots=True)
class ListMailsQuery:
    """Which mails, from where on, and how many (1 to 200)."""

    only_dead: bool = False
    after: MailId | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class MailPage:
    """Some mails; `next_after` is None on the last page."""

    mails: Sequence[QueuedMail]
    next_after: MailId | None


class ListMails:
    """Lists mails in the order in which they were asked for."""

    def __init__(self, queue: MailQueue) -> None:
        self._queue = queue

    async def execute(self, query: ListMailsQuery) -> MailPage:
        """Return a page of mails.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        limit = max(1, min(query.limit, MAX_PAGE))
        mails = await self._queue.list_page(
            only_dead=query.only_dead, after=query.after, limit=limit + 1
        )
        more = len(mails) > limit
        return MailPage(mails[:limit], mails[limit - 1].id if more else None)
