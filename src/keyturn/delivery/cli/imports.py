"""Accounts that come over from another system."""

import sys
from collections import Counter
from collections.abc import Iterable
from enum import Enum
from typing import Annotated

import typer
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from keyturn.delivery.cli.addresses import normalised_email
from keyturn.delivery.cli.operations import Administration, Operations
from keyturn.delivery.lines import is_line
from keyturn.domain.errors import EmailTaken, InvalidInput, RoleNotFound
from keyturn.domain.secret import Secret
from keyturn.domain.user import USER_ROLE
from keyturn.use_cases.import_user import ImportUser, ImportUserCommand

_EXIT_REFUSED_SOME = 1


def _line(text: str) -> str:
    if is_line(text):
        return text
    raise ValueError("must be one line of printable characters")


_DisplayName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_line),
]


class _Line(BaseModel):
    """One account. What is not named here is refused: it might be a password."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    email: Annotated[str, AfterValidator(normalised_email)]
    password_hash: str
    display_name: _DisplayName | None = None
    email_verified: bool = False
    roles: list[str] = [USER_ROLE.name]


class _Outcome(Enum):
    IMPORTED = 1
    SKIPPED = 2
    REFUSED = 3


def add_import(users: typer.Typer, operations: Operations) -> None:
    """Add the command to those about users."""

    @users.command("import")
    def import_users(
        file: Annotated[
            typer.FileBinaryRead,
            typer.Argument(metavar="FILE|-", help="One JSON object a line; - for standard input."),
        ],
    ) -> None:
        """Bring accounts over from another system, with the hashes of their passwords.

        Each line has email and password_hash, and may have display_name, email_verified and roles.
        Hashes other than Argon2's are taken if KEYTURN_IMPORTED_HASHES is true. An address that
        is registered is skipped: a file may be imported again.
        """

        async def work(administration: Administration) -> Counter[_Outcome]:
            return await _import_all(administration.import_user, file)

        counted = operations.administer(work, makes_database=True)
        print(
            f"Imported {counted[_Outcome.IMPORTED]} users, skipped {counted[_Outcome.SKIPPED]}, "
            f"refused {counted[_Outcome.REFUSED]}."
        )
        if counted[_Outcome.REFUSED]:
            raise typer.Exit(_EXIT_REFUSED_SOME)


async def _import_all(import_user: ImportUser, lines: Iterable[bytes]) -> Counter[_Outcome]:
    counted: Counter[_Outcome] = Counter()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            account = _Line.model_validate_json(line)
            await import_user.execute(
                ImportUserCommand(
                    account.email,
                    Secret(account.password_hash),
                    account.display_name,
                    account.email_verified,
                    frozenset(account.roles),
                )
            )
        except ValidationError as error:
            counted[_Outcome.REFUSED] += 1
            _tell(number, _problems(error))
        except EmailTaken as error:
            counted[_Outcome.SKIPPED] += 1
            _tell(number, f"skipped: {error.detail}")
        except (InvalidInput, RoleNotFound) as error:
            counted[_Outcome.REFUSED] += 1
            _tell(number, error.detail)
        else:
            counted[_Outcome.IMPORTED] += 1
    return counted


def _tell(number: int, problem: str) -> None:
    print(f"line {number}: {problem}", file=sys.stderr)


def _problems(error: ValidationError) -> str:
    # A name that nobody knows may be a password in the wrong place: it is not repeated.
    return "; ".join(
        f"{each['loc'][0]}: {each['msg']}"
        if each["loc"] and each["type"] != "extra_forbidden"
        else each["msg"]
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    )
