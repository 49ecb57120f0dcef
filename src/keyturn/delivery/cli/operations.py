"""What the command line is handed: everything that it can ask for."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar

from keyturn.domain.client import Client
from keyturn.domain.secret import Secret
from keyturn.use_cases.assign_roles import AssignRoles
from keyturn.use_cases.change_user import ChangeUser
from keyturn.use_cases.define_role import DefineRole
from keyturn.use_cases.end_session import EndSession
from keyturn.use_cases.erase_due_users import EraseDueUsers
from keyturn.use_cases.erase_user import EraseUser
from keyturn.use_cases.get_user import GetUser
from keyturn.use_cases.import_user import ImportUser
from keyturn.use_cases.list_mails import ListMails
from keyturn.use_cases.list_sessions import ListSessions
from keyturn.use_cases.list_users import ListUsers
from keyturn.use_cases.purge_expired import PurgeExpired
from keyturn.use_cases.register_user import RegisterUser
from keyturn.use_cases.retry_mail import RetryMail
from keyturn.use_cases.revoke_all_families import RevokeAllFamilies
from keyturn.use_cases.take_over_account import TakeOverAccount

T = TypeVar("T")


class KeyLine(Protocol):
    """A signing key and what it is for."""

    @property
    def kid(self) -> str:
        """Its thumbprint."""

    @property
    def algorithm(self) -> str:
        """What it signs with."""

    @property
    def state(self) -> str:
        """What it is for: `signing`, `next`, `retiring`, `retired` or `verifying`."""

    @property
    def at(self) -> datetime | None:
        """For the next key when it may sign, for one that retires when it does."""

    @property
    def file(self) -> str:
        """The name of its file."""


class KeyAdministration(Protocol):
    """By what an operator lets one signing key take over from another."""

    def list(self) -> Sequence[KeyLine]:
        """Return every key."""

    def generate(self, algorithm: str | None = None) -> KeyLine:
        """Make the next key, of the algorithm of the signing one by default, and publish it."""

    def rotate(self, *, at_once: bool = False) -> KeyLine:
        """Let the next key sign, if it is time or at once; where there is none, publish one."""

    def retire(self, kid: str, *, at_once: bool = False) -> datetime | None:
        """Let a key go; return when it retires, None if it is gone."""


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


@dataclass(frozen=True, slots=True)
class Administration:
    """The use-cases by which an operator looks after users and sessions."""

    register_user: RegisterUser
    import_user: ImportUser
    get_user: GetUser
    list_users: ListUsers
    change_user: ChangeUser
    assign_roles: AssignRoles
    define_role: DefineRole
    list_sessions: ListSessions
    end_session: EndSession
    revoke_all_families: RevokeAllFamilies
    erase_user: EraseUser
    erase_due_users: EraseDueUsers
    purge_expired: PurgeExpired
    list_mails: ListMails
    retry_mail: RetryMail
    take_over_account: TakeOverAccount


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
    def administer(
        self,
        work: Callable[[Administration], Awaitable[T]],
        *,
        makes_database: bool = False,
        only_reads: bool = False,
    ) -> T:
        """Return what comes of work with the use-cases.

        Work that may write is refused where the service would not learn in time of what it
        revokes: where the service follows revocations in Redis, and this process does not use the
        same Redis.

        Args:
            work: is handed the use-cases and awaited.
            makes_database: whether the embedded database is made if there is none yet.
            only_reads: whether the work changes nothing.
        """

    @abstractmethod
    def add_client(
        self,
        client_id: str,
        *,
        public: bool,
        introspects: bool,
        reads_revocations: bool,
        audience: str | None = None,
        resources: Collection[str] = (),
    ) -> Secret | None:
        """Add an OAuth client; return its new secret, None for a public one.

        Args:
            audience: the audience whose tokens it sees at introspection; None for the default.
            resources: the resources that it may ask for, besides the default audience.
        """

    @abstractmethod
    def list_clients(self) -> Iterable[Client]:
        """Return the OAuth clients that are configured."""

    @abstractmethod
    def remove_client(self, client_id: str) -> None:
        """Remove an OAuth client."""

    @abstractmethod
    def add_resource(self, resource: str) -> None:
        """Declare a resource."""

    @abstractmethod
    def list_resources(self) -> Iterable[str]:
        """Return the declared resources, sorted."""

    @abstractmethod
    def remove_resource(self, resource: str) -> None:
        """Withdraw the declaration of a resource."""

    @abstractmethod
    def administer_keys(self, work: Callable[[KeyAdministration], T]) -> T:
        """Return what comes of work with the signing keys."""

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
