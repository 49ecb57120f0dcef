"""An operator looks at what was not sent, and has it sent after all."""

from uuid import UUID

import pytest

from keyturn.domain.errors import MailNotFound, MailRefused
from keyturn.domain.ids import MailId
from keyturn.domain.mail import Mail
from keyturn.ports.mail import Mailer
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.list_mails import ListMailsQuery
from keyturn.use_cases.retry_mail import RetryMailCommand


class ChoosyMailer(Mailer):
    """Refuses mails to some."""

    def __init__(self) -> None:
        self.refused = {"eve@example.com"}
        self.sent: list[str] = []

    async def send(self, mail: Mail) -> None:
        if mail.to in self.refused:
            raise MailRefused
        self.sent.append(mail.to)


@pytest.fixture
def mailer() -> ChoosyMailer:
    return ChoosyMailer()


@pytest.fixture
async def keyturn(mailer: ChoosyMailer) -> InMemoryKeyturn:
    """A service with a dead mail to Eve, and one that waits to be sent to Ada."""
    keyturn = InMemoryKeyturn(mailer=mailer)
    await keyturn.register("eve@example.com")
    await keyturn.deliver_mail.execute()
    await keyturn.register("ada@example.com")
    return keyturn


async def listed(keyturn: InMemoryKeyturn, query: ListMailsQuery) -> list[str]:
    return [mail.address for mail in (await keyturn.list_mails.execute(query)).mails]


async def test_mails_are_listed_as_they_were_asked_for(keyturn: InMemoryKeyturn) -> None:
    assert await listed(keyturn, ListMailsQuery()) == ["eve@example.com", "ada@example.com"]


async def test_dead_mails_are_listed_alone(keyturn: InMemoryKeyturn) -> None:
    assert await listed(keyturn, ListMailsQuery(only_dead=True)) == ["eve@example.com"]


async def test_the_list_goes_on_where_it_ended(keyturn: InMemoryKeyturn) -> None:
    first = await keyturn.list_mails.execute(ListMailsQuery(limit=1))
    assert [mail.address for mail in first.mails] == ["eve@example.com"]
    last = await keyturn.list_mails.execute(ListMailsQuery(after=first.next_after, limit=1))
    assert [mail.address for mail in last.mails] == ["ada@example.com"]
    assert last.next_after is None


async def test_a_dead_mail_is_sent_after_all(
    keyturn: InMemoryKeyturn, mailer: ChoosyMailer
) -> None:
    [dead] = (await keyturn.list_mails.execute(ListMailsQuery(only_dead=True))).mails
    mailer.refused.clear()
    assert await keyturn.retry_mail.execute(RetryMailCommand(dead.id)) == 1
    await keyturn.deliver_mail.execute()
    assert sorted(mailer.sent) == ["ada@example.com", "eve@example.com"]
    assert await listed(keyturn, ListMailsQuery()) == []


async def test_all_dead_mails_are_tried_again_at_once(keyturn: InMemoryKeyturn) -> None:
    assert await keyturn.retry_mail.execute(RetryMailCommand(None)) == 1
    assert await listed(keyturn, ListMailsQuery(only_dead=True)) == []
    assert await keyturn.retry_mail.execute(RetryMailCommand(None)) == 0


async def test_a_mail_that_is_not_dead_or_not_there_can_not_be_retried(
    keyturn: InMemoryKeyturn,
) -> None:
    [_, waiting] = (await keyturn.list_mails.execute(ListMailsQuery())).mails
    for mail_id in (waiting.id, MailId(UUID(int=1))):
        with pytest.raises(MailNotFound):
            await keyturn.retry_mail.execute(RetryMailCommand(mail_id))
