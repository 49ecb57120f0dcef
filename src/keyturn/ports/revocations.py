"""Where a process learns which access tokens must die before they expire."""

from abc import abstractmethod
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
