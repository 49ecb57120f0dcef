"""Where users, roles, refresh token families, revocations and the audit trail live.

The contract that every adapter keeps, and `keyturn.testing` checks:

- **Writes are staged.** `add`, `save`, `revoke` and `revoke_all` only note what is to be done;
  nothing reaches the store before `UnitOfWork.commit`.
- **Commit is atomic.** It applies everything staged, in the order staged, or nothing at all.
- **Compare and swap.** A `save` or a `put` carries an entity whose version (a user's or a role's
  `version`, a family's `generation`) is one above the stored one. If the store holds another, the
  commit fails with `StaleUser`, `StaleRole` or `StaleFamily`, and nothing of it is applied. Of any
  number of concurrent commits that save the same version, exactly one succeeds.
- **Revocation always wins.** `revoke` and `revoke_all` look at no version. They apply to what is
  stored at the moment of the commit; a family that is revoked can't be saved any more.
- **Reads see what is committed**, never what is staged, and two reads are no snapshot: what a
  decision rests on is guarded by a version at commit.
- **A committed revocation is known here at once.** Before `commit` returns, the callback that the
  adapter was made with is handed every revocation of the commit; other processes read it from the
  `RevocationList`.
- **A revocation outlives the tokens that it revokes.** The store, not the caller, decides when an
  entry expires; see `RevocationWriter`. The callback, the list and the feed all get the entry as it
  is stored.
- **Times** come back as aware UTC with microseconds.
- **A store that does not answer** is `StoreUnavailable`, from any method. After a failed commit it
  may be unknown whether the commit was applied; all use-cases can be repeated safely.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from keyturn.domain.events import AuditEvent, AuditEventType
from keyturn.domain.ids import EventId, FamilyId, TokenId, UserId
from keyturn.domain.mail import QueuedMail
from keyturn.domain.one_time_token import OneTimeToken
from keyturn.domain.refresh_token_family import RefreshTokenFamily, RevokeReason
from keyturn.domain.revocation import Revocation
from keyturn.domain.user import Role, User, UserStatus


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users to list; None means any.

    Attributes:
        email: a part of the canonical address, taken literally.
        role: the name of a role that they hold.
    """

    email: str | None = None
    status: UserStatus | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which audit events to list; None means any."""

    type: AuditEventType | None = None
    actor: UserId | None = None
    subject: UserId | None = None


class UserRepository(Protocol):
    """The users."""

    @abstractmethod
    async def get(self, user_id: UserId) -> User | None:
        """Return the user with its roles and their permissions, or None."""

    @abstractmethod
    async def get_by_email(self, email: str) -> User | None:
        """Return the user whose `canonical_email` is that of `email`, or None.

        Raises:
            InvalidEmail: `email` can't be an e-mail address.
        """

    @abstractmethod
    def add(self, user: User) -> None:
        """Stage a new user.

        The commit raises `EmailTaken` if another user has the same `canonical_email`; of any
        number of concurrent commits that add the same address, exactly one succeeds.
        """

    @abstractmethod
    def save(self, user: User) -> None:
        """Stage the next version of a user, its roles by name included.

        The commit raises `StaleUser` unless the stored version is `user.version - 1`, and
        `EmailTaken` if another user has the same `canonical_email`.
        """

    @abstractmethod
    def note_failed_login(
        self, user_id: UserId, at: datetime, *, at_most: int, when_reached: QueuedMail
    ) -> None:
        """Stage `user.failed_to_log_in(at, at_most=at_most)` of the user as stored at the commit.

        It looks at no version, so that none of many at once is lost; an unknown user is no error.
        The one commit by which the count reaches `at_most` puts `when_reached` into the outbox.

        It must take as many exchanges with the store for an unknown user as for a known one, and
        for a count that reaches `at_most` as for one that does not: a failed login is staged this
        way whether or not there is an account.
        """

    @abstractmethod
    def erase(self, user: User) -> None:
        """Stage the end of a user, and of all that is the user's: roles, families, one-time tokens.

        Of what is kept, personal data goes too: mails to or about the user, and the whole origin
        of the audit events about the user that the user or nobody known caused. An event that the
        user caused to somebody else, or to no user, must keep its origin: nobody removes the traces
        of what they did to others by asking for erasure. The commit raises `StaleUser` unless the
        stored version is `user.version`.
        """

    @abstractmethod
    async def list_due(self, now: datetime, limit: int) -> list[User]:
        """Return at most `limit` users whose deletion is due at `now`."""

    @abstractmethod
    async def list_page(self, which: UserFilter, *, after: UserId | None, limit: int) -> list[User]:
        """Return at most `limit` users, lowest id first, from the first one past `after`."""

    @abstractmethod
    def require_holder(self, role: str) -> None:
        """Stage a check: when all else is applied, an active user must hold the role.

        The commit raises `LastAdministrator` otherwise. Of two concurrent commits that each take
        the role from another of its last two holders, one fails.
        """

    @abstractmethod
    def raise_epochs(self, role: str, at: datetime) -> None:
        """Stage the death of the access tokens of everybody who holds the role at the commit.

        Raises each one's epoch and version by one, sets `updated_at`, and adds a revocation of
        the user up to the new epoch, as `RevocationWriter.add_user` does.
        """


class RoleRepository(Protocol):
    """The roles and what they permit."""

    @abstractmethod
    async def get_many(self, names: frozenset[str]) -> frozenset[Role]:
        """Return those of the named roles that exist."""

    @abstractmethod
    async def list_all(self) -> list[Role]:
        """Return every role, by name."""

    @abstractmethod
    def put(self, role: Role) -> None:
        """Stage the next version of a role's definition; version 1 is a new role.

        The commit raises `StaleRole` unless the stored version is `role.version - 1`, or the role
        is new and none of its name is stored. Of any number of concurrent commits that put the
        same version, exactly one succeeds.
        """

    @abstractmethod
    def delete(self, role: Role) -> None:
        """Stage the end of a role, which takes it from every user who holds it.

        The commit raises `StaleRole` unless the stored version is `role.version`.
        """

    @abstractmethod
    def require_unchanged(self, roles: frozenset[Role]) -> None:
        """Stage a check: at the commit, each role must still be stored with its version.

        The commit raises `StaleRole` otherwise. A concurrent change of one of the roles is either
        seen by the check or committed after this commit.
        """


class FamilyRepository(Protocol):
    """The refresh token families, one record each, however often they rotate."""

    @abstractmethod
    async def get(self, family_id: FamilyId) -> RefreshTokenFamily | None:
        """Return the family, live or ended, or None."""

    @abstractmethod
    async def get_with_user(self, family_id: FamilyId) -> tuple[RefreshTokenFamily, User] | None:
        """Return the family and its user as of one moment, or None.

        Every refresh starts here: an adapter makes it one look-up.
        """

    @abstractmethod
    async def list_live(self, user_id: UserId, now: datetime) -> list[RefreshTokenFamily]:
        """Return the user's families that are live at `now`, most recently used first."""

    @abstractmethod
    async def list_ended(
        self, user_id: UserId, now: datetime, since: datetime
    ) -> list[RefreshTokenFamily]:
        """Return the user's families that ended between `since` and `now`, last ended first."""

    @abstractmethod
    def add(self, family: RefreshTokenFamily) -> None:
        """Stage a new family. The commit raises `StaleUser` if its user does not exist."""

    @abstractmethod
    def save(self, family: RefreshTokenFamily) -> None:
        """Stage the next generation of a family.

        The commit raises `StaleFamily` unless the family is stored, is not revoked, and its
        stored generation is `family.generation - 1`.
        """

    @abstractmethod
    def revoke(self, family_id: FamilyId, at: datetime, reason: RevokeReason) -> None:
        """Stage the end of a family. One that is revoked already, or unknown, stays as it is."""

    @abstractmethod
    def revoke_all(
        self,
        user_id: UserId,
        at: datetime,
        reason: RevokeReason,
        *,
        keep: FamilyId | None = None,
    ) -> None:
        """Stage the end of every family of the user but `keep`.

        Those that are revoked already stay as they are.
        """


class OneTimeTokenRepository(Protocol):
    """The one-time tokens that were sent by mail, by their digests."""

    @abstractmethod
    async def get(self, digest: str) -> OneTimeToken | None:
        """Return the token of this digest, or None."""

    @abstractmethod
    def add(self, token: OneTimeToken) -> None:
        """Stage a new token. The commit raises `StaleUser` if its user does not exist."""

    @abstractmethod
    def redeem(self, digest: str) -> None:
        """Stage the only use of a token: it is gone with the commit.

        The commit raises `StaleOneTimeToken` if it is gone already; of any number of concurrent
        commits that redeem the same token, exactly one succeeds.
        """


class Outbox(Protocol):
    """The mails that a unit of work asks for."""

    @abstractmethod
    def add(self, mail: QueuedMail) -> None:
        """Stage a mail: with the commit, it waits in the `MailQueue`."""


class RevocationWriter(Protocol):
    """The revocation entries that a unit of work adds.

    Every entry is durable with the commit. The same entry twice is no error.

    An entry of a session or a user must expire no earlier than at the moment of the revocation plus
    the longest access token lifetime that is recorded in the store (`DeploymentRecord`) plus
    `MAX_CLOCK_SKEW`: see `revoked_until`. The store computes this inside the transaction of the
    commit. A longer lifetime that is recorded at the same time is either part of the sum, or its
    recording returns only after this commit: then no token of that lifetime was issued before.
    """

    @abstractmethod
    def add_token(self, token_id: TokenId, expires_at: datetime) -> None:
        """Stage the entry that kills one access token.

        Args:
            token_id: the `jti` of the token.
            expires_at: the `exp` of the token, aware UTC. The entry expires `MAX_CLOCK_SKEW` later.
        """

    @abstractmethod
    def add_session(self, family_id: FamilyId, at: datetime) -> None:
        """Stage the entry that kills every access token of a session.

        Args:
            family_id: the session.
            at: the moment of the revocation, aware UTC.
        """

    @abstractmethod
    def add_user(self, user_id: UserId, epoch: int, at: datetime) -> None:
        """Stage the entry that kills a user's access tokens of every epoch below `epoch`.

        Args:
            user_id: the user.
            epoch: the lowest epoch whose tokens stay good.
            at: the moment of the revocation, aware UTC.
        """


class AuditTrail(Protocol):
    """What happened, written in the same unit of work as the change."""

    @abstractmethod
    def add(self, event: AuditEvent) -> None:
        """Stage an event."""

    @abstractmethod
    async def list_page(
        self, which: AuditFilter, *, before: EventId | None, limit: int
    ) -> list[AuditEvent]:
        """Return at most `limit` events, latest id first, from the first one below `before`."""


class UnitOfWork(Protocol):
    """One atomic change of the store.

    Used as `async with factory() as uow: ...; await uow.commit()`. Leaving the block without a
    commit, by an exception or not, changes nothing and gives every resource back. One unit of
    work belongs to one task and commits at most once.
    """

    @property
    @abstractmethod
    def users(self) -> UserRepository:
        """The users, as this unit of work sees them."""

    @property
    @abstractmethod
    def roles(self) -> RoleRepository:
        """The roles, as this unit of work sees them."""

    @property
    @abstractmethod
    def families(self) -> FamilyRepository:
        """The families, as this unit of work sees them."""

    @property
    @abstractmethod
    def revocations(self) -> RevocationWriter:
        """The revocations that this unit of work adds."""

    @property
    @abstractmethod
    def one_time_tokens(self) -> OneTimeTokenRepository:
        """The one-time tokens, as this unit of work sees them."""

    @property
    @abstractmethod
    def outbox(self) -> Outbox:
        """The mails that this unit of work asks for."""

    @property
    @abstractmethod
    def audit(self) -> AuditTrail:
        """The audit trail."""

    @abstractmethod
    def idle(self, exchanges: int) -> None:
        """Stage exchanges with the store that change nothing.

        A use-case fills up a short path with them, so that its time does not reveal which path it
        took. A store behind a network must answer each exchange before the commit sends the next.

        Args:
            exchanges: as many as the longer path has statements more.
        """

    @abstractmethod
    async def commit(self) -> None:
        """Apply everything staged, or nothing.

        Raises:
            StaleUser: a saved user is not the next version of the stored one.
            StaleRole: a role is not stored with the version that the change was based on.
            StaleFamily: a saved family is not the next generation of the stored one, or is revoked.
            StaleOneTimeToken: a redeemed token is gone.
            EmailTaken: an added or saved user's address belongs to another.
            LastAdministrator: nobody would hold a role that somebody must hold.
            RoleNotFound: a saved or added user has a role that does not exist.
            StoreUnavailable: the store did not answer.
        """

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Open the unit of work."""

    @abstractmethod
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Forget what was not committed and give every resource back."""


UnitOfWorkFactory = Callable[[], UnitOfWork]
"""Makes a unit of work of its own for each call."""


RevocationCallback = Callable[[Sequence[Revocation]], None]
"""What a unit of work tells the process that it runs in of what it has revoked."""


@dataclass(frozen=True, slots=True)
class Purged:
    """How many records a purge removed."""

    families: int = 0
    revocations: int = 0
    audit_events: int = 0
    one_time_tokens: int = 0
    mails: int = 0


class Housekeeping(Protocol):
    """Removes what no longer matters, and lets only one process do it."""

    @abstractmethod
    async def purge(
        self, *, ended_before: datetime, now: datetime, events_before: datetime, batch: int
    ) -> Purged:
        """Remove at most `batch` records of each kind, in short transactions.

        Args:
            ended_before: families whose absolute expiry lies before this go.
            now: revocations and one-time tokens that expired by now go.
            events_before: audit events from before this go, and mails that died before this.

        Returns:
            What was removed; when no count reaches `batch`, nothing is left to remove.

        Raises:
            StoreUnavailable: the store did not answer.
        """

    @abstractmethod
    async def lead(self, task: str, holder: str, now: datetime, until: datetime) -> bool:
        """Return whether `holder` leads `task` until `until`.

        Of any number of concurrent holders at most one is told so, until its time is over by
        `now` or it asks again itself, which extends its time.

        Raises:
            StoreUnavailable: the store did not answer.
        """
