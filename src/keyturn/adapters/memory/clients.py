"""The OAuth clients of an in-memory service."""

from keyturn.domain.client import Client
from keyturn.ports.clients import Clients


class MemoryClients(Clients):
    """The clients that it was made with."""

    def __init__(self, *clients: Client) -> None:
        """Know `clients`."""
        self._clients = {client.id: client for client in clients}

    async def get(self, client_id: str) -> Client | None:
        return self._clients.get(client_id)
