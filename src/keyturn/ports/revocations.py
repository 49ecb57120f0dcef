"""Where a process learns which access tokens must die before they expire."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from keyturn.domain.revocation import Revocation


@dataclass(frozen=True, slots=True)
class RevocationPage:
    """What a look at the list brought.

    Attributes:
        revocations: entries in no particular order, perhaps some that were read before.
        cursor: where to go on reading; only the adapter that made it knows what it means.
    """

    revocations: tuple[Revocation, ...]
    cursor: str


class RevocationList(Protocol):
    """The durable list of revocations, which any number of processes follow.

    Entries are written by `UnitOfWork.revocations`. An entry whose unit of work has committed is
    in the page of the next `read` of every process, whatever cursor it holds: none is ever
    skipped, also not one whose commit overtook another's. Entries may be told twice.
    """

    @abstractmethod
    async def read(self, after: str | None) -> RevocationPage:
        """Return what was added since the page of cursor `after`; with None, all that is there.

        A cursor that no list of this kind makes, perhaps one of the list that was here before or
        one that a stranger thought of, counts as None.

        Raises:
            StoreUnavailable: the list can't be read.
        """


class RevocationFeed(Protocol):
    """Carries revocations to other processes where these don't ask the store itself.

    The store stays the place where revocations are durable. A unit of work that has a feed calls
    `announce`, commits, and calls `confirm`: whoever follows the feed learns of an entry before
    its change is visible to anybody, or, if the feed lost it meanwhile, before `commit` returns.
    """

    @abstractmethod
    async def announce(self, revocations: Sequence[Revocation]) -> str:
        """Tell every process of what is about to be committed.

        Returns:
            A receipt for `confirm`; only the adapter that made it knows what it means.

        Raises:
            StoreUnavailable: not everybody would learn of it, so it must not be committed.
        """

    @abstractmethod
    async def confirm(self, revocations: Sequence[Revocation], receipt: str) -> None:
        """See to it, after the commit, that what was announced is still told.

        When the feed does not answer, it goes on trying by itself: this never fails.
        """

    @abstractmethod
    async def get_id(self) -> str | None:
        """Return the identity of the feed, None where it has none (any more).

        The identity is random and kept in the feed itself. Two processes use the same feed if and
        only if they read the same identity.

        Raises:
            StoreUnavailable: the feed does not answer.
        """

    @abstractmethod
    async def ensure_id(self, known: str | None) -> str:
        """Return the identity of the feed, having given it one where it had none.

        Of any number of concurrent calls all return the same identity.

        Args:
            known: the identity that a feed without one gets, None for a new random one.

        Raises:
            StoreUnavailable: the feed does not answer.
        """
