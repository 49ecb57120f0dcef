"""Where users, roles and refresh token families live.

The contract that every adapter keeps, and `keyturn.testing` checks:

- **Writes are staged.** `add`, `save`, `revoke` and `revoke_all` only note what is to be done;
  nothing reaches the store before `UnitOfWork.commit`.
- **Commit is atomic.** It applies everything staged, in the order staged, or nothing at all.
- **Compare and swap.** A `save` carries an entity whose version (a user's `version`, a family's
  `generation`) is one above the stored one. If the store holds another, the commit fails with
  `StaleUser` or `StaleFamily`, and nothing of it is applied. Of any number of concurrent commits
  that save the same version, exactly one succeeds.
- **Revocation always wins.** `revoke` and `revoke_all` look at no version. They apply to what is
  stored at the moment of the commit; a family that is revoked can't be saved any more.
- **Reads see what is committed**, never what is staged, and two reads are no snapshot: what a
  decision rests on is guarded by a version at commit.
- **Times** come back as aware UTC with microseconds.
- **A store that does not answer** is `StoreUnavailable`, from any method. After a failed commit it
  may be unknown whether the commit was applied; all use-cases can be repeated safely.
"""

from abc import abstractmethod
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.refresh_token_family import RefreshTokenFamily, RevokeReason
from keyturn.domain.user import Role, User


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

        The commit raises `StaleUser` unless the stored version is `user.version - 1`.
        """


class RoleRepository(Protocol):
    """The roles and what they permit."""

    @abstractmethod
    async def get_many(self, names: frozenset[str]) -> frozenset[Role]:
        """Return those of the named roles that exist."""


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

    @abstractmethod
    async def commit(self) -> None:
        """Apply everything staged, or nothing.

        Raises:
            StaleUser: a saved user is not the next version of the stored one.
            StaleFamily: a saved family is not the next generation of the stored one, or is revoked.
            EmailTaken: an added user's address belongs to another.
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
