"""What an operator does with mails that wait to be sent."""

from typing import Annotated

import typer

from keyturn.delivery.cli.operations import Administration, Operations, Refusal
from keyturn.delivery.cli.printing import AsJson, parse_id, print_rows, told
from keyturn.domain.ids import MailId
from keyturn.domain.mail import QueuedMail
from keyturn.use_cases.list_mails import ListMailsQuery
from keyturn.use_cases.list_users import MAX_PAGE
from keyturn.use_cases.retry_mail import RetryMailCommand


def add_outbox(cli: typer.Typer, operations: Operations) -> None:
    """Add the commands to a command line."""
    outbox = typer.Typer(help="Look at mails that are not sent.", no_args_is_help=True)
    cli.add_typer(outbox, name="outbox")

    @outbox.command("list")
    def list_mails(
        *,
        dead: Annotated[
            bool, typer.Option("--dead", help="Only those that are not tried any more.")
        ] = False,
        as_json: AsJson = False,
    ) -> None:
        """List mails that wait to be sent or were given up, in the order they were asked for."""

        async def work(administration: Administration) -> list[QueuedMail]:
            found: list[QueuedMail] = []
            after = None
            while True:
                page = await administration.list_mails.execute(
                    ListMailsQuery(dead, after, MAX_PAGE)
                )
                found += page.mails
                after = page.next_after
                if after is None:
                    return found

        print_rows(
            [
                {
                    "id": str(mail.id),
                    "kind": mail.kind.value,
                    "address": mail.address,
                    "created_at": told(mail.created_at),
                    "attempts": mail.attempts,
                    "next_attempt_at": None if mail.dead_at else told(mail.next_attempt_at),
                    "dead_at": told(mail.dead_at),
                    "failure": mail.failure,
                }
                for mail in operations.administer(work, only_reads=True)
            ],
            as_json=as_json,
            nothing="No mail.",
        )

    @outbox.command()
    def retry(
        mail: Annotated[
            str | None, typer.Argument(metavar="[MAIL]", help="The dead mail's id.")
        ] = None,
        *,
        every: Annotated[bool, typer.Option("--all", help="Every dead mail.")] = False,
    ) -> None:
        """Have a dead mail sent after all, or every one; the workers try at once."""
        if every == (mail is not None):
            raise Refusal("name one mail, or say --all")
        command = RetryMailCommand(None if mail is None else MailId(parse_id(mail, "mail")))
        revived = operations.administer(
            lambda administration: administration.retry_mail.execute(command)
        )
        print(f"{revived} dead mail{'' if revived == 1 else 's'} will be tried again.")
