"""What an operator sees of mails that were not sent, and does about them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import TypeVar, cast

import pytest
import typer
from typer.testing import CliRunner

from keyturn.delivery.cli.operations import Administration, Operations, Refusal
from keyturn.delivery.cli.outbox import add_outbox
from keyturn.domain.errors import MailNotFound, MailRefused, MailUnavailable
from keyturn.domain.mail import Mail
from keyturn.ports.mail import Mailer
from keyturn.testing.in_memory import InMemoryKeyturn, run

T = TypeVar("T")

NOBODY = "00000000-0000-0000-0000-000000000001"


class BrokenMailer(Mailer):
    """Refuses Eve, and is not there for others."""

    async def send(self, mail: Mail) -> None:
        raise MailRefused("no \x1b[2J") if mail.to == "eve@example.com" else MailUnavailable("down")


class MemoryOperations:
    """What a command may ask for, in memory."""

    def __init__(self, keyturn: InMemoryKeyturn) -> None:
        self._keyturn = keyturn

    def administer(
        self, work: Callable[[Administration], Awaitable[T]], *, only_reads: bool = False
    ) -> T:
        offered = SimpleNamespace(
            list_mails=self._keyturn.list_mails, retry_mail=self._keyturn.retry_mail
        )

        async def do() -> T:
            return await work(cast("Administration", offered))

        return asyncio.run(do())


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    """A service with a dead mail to Eve, and one to Ada that is tried again."""
    keyturn = InMemoryKeyturn(mailer=BrokenMailer())
    run(keyturn.register("eve@example.com"))
    run(keyturn.register("ada@example.com"))
    run(keyturn.deliver_mail.execute())
    return keyturn


@pytest.fixture
def outbox(keyturn: InMemoryKeyturn) -> Callable[..., str]:
    """Carries out a command, and returns what it prints."""
    cli = typer.Typer()
    add_outbox(cli, cast("Operations", MemoryOperations(keyturn)))

    def carry_out(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["outbox", *arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    return carry_out


def test_mails_are_listed_with_what_keeps_them(outbox: Callable[..., str]) -> None:
    eve, ada = json.loads(outbox("list", "--json"))
    assert (eve["address"], eve["attempts"], eve["failure"]) == ("eve@example.com", 1, "no \x1b[2J")
    assert eve["dead_at"] is not None
    assert eve["next_attempt_at"] is None
    assert (ada["address"], ada["failure"], ada["dead_at"]) == ("ada@example.com", "down", None)
    assert ada["next_attempt_at"] is not None


def test_dead_mails_are_listed_for_people(outbox: Callable[..., str]) -> None:
    head, line = outbox("list", "--dead").splitlines()
    assert head.split() == [
        "ID",
        "KIND",
        "ADDRESS",
        "CREATED_AT",
        "ATTEMPTS",
        "NEXT_ATTEMPT_AT",
        "DEAD_AT",
        "FAILURE",
    ]
    assert "eve@example.com" in line
    assert "\x1b" not in line


def test_a_dead_mail_is_tried_again(outbox: Callable[..., str]) -> None:
    [dead] = json.loads(outbox("list", "--dead", "--json"))
    assert outbox("retry", dead["id"]) == "1 dead mail will be tried again.\n"
    assert outbox("list", "--dead") == "No mail.\n"


def test_every_dead_mail_is_tried_again(outbox: Callable[..., str]) -> None:
    assert outbox("retry", "--all") == "1 dead mail will be tried again.\n"
    assert outbox("retry", "--all") == "0 dead mails will be tried again.\n"


@pytest.mark.parametrize("arguments", [[], [NOBODY, "--all"]])
def test_it_is_said_which_mails_to_retry(arguments: list[str], outbox: Callable[..., str]) -> None:
    with pytest.raises(Refusal, match="name one mail, or say --all"):
        outbox("retry", *arguments)


def test_a_mail_that_is_not_there_is_not_retried(outbox: Callable[..., str]) -> None:
    with pytest.raises(MailNotFound):
        outbox("retry", NOBODY)
    with pytest.raises(Refusal, match="x is no mail's id"):
        outbox("retry", "x")
