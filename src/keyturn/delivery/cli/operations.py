"""What the command line is handed: everything that it can ask for."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Refusal(Exception):
    """The command can't be carried out; the message is one line, for the operator."""


class Verdict(StrEnum):
    """What a check of `keyturn doctor` comes to."""

    GOOD = "ok"
    DOUBTFUL = "warning"
    BAD = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    subject: str
    verdict: Verdict
    text: str


class ShownSetting(Protocol):
    """A setting as it may be shown: a secret is masked."""

    @property
    def name(self) -> str:
        """The environment variable."""

    @property
    def value(self) -> str:
        """The value as it would be written there."""

    @property
    def source(self) -> str:
        """Where the value comes from."""

    @property
    def description(self) -> str:
        """What it is for."""


class Operations(Protocol):
    """What each command does; any of them may raise `Refusal`."""

    @abstractmethod
    def serve(self, *, host: str, port: int, workers: int, migrate: bool) -> None:
        """Serve until told to stop.

        Args:
            host: the address to listen on.
            port: the port to listen on; 0 for any that is free.
            workers: processes.
            migrate: whether to bring a named database to the newest schema first, as is always
                done with the embedded one.
        """

    @abstractmethod
    def migrate(self, revision: str) -> str:
        """Bring the database to a revision, or to the newest by `head`; return where it is."""

    @abstractmethod
    def settings(self) -> Iterable[ShownSetting]:
        """Return every setting."""

    @abstractmethod
    def diagnose(self) -> Iterator[Finding]:
        """Look for what is wrong, changing nothing; findings come as they are made."""

    @abstractmethod
    def openapi(self) -> str:
        """Return the description of the HTTP interface, as JSON."""

    @abstractmethod
    def version(self) -> str:
        """Return the version of keyturn."""
