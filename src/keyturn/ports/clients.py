"""Which OAuth clients a deployment knows."""

from abc import abstractmethod
from typing import Protocol

from keyturn.domain.client import Client


class Clients(Protocol):
    """The clients that somebody has configured."""

    @abstractmethod
    async def get(self, client_id: str) -> Client | None:
        """Return the client of this id, or None.

        Raises:
            StoreUnavailable: the clients can't be read now.
        """
