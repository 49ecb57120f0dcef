"""An OAuth client says who it is."""

from keyturn.domain.client import Client
from keyturn.domain.errors import InvalidClient
from keyturn.domain.secret import Secret
from keyturn.ports.clients import Clients


class AuthenticateClient:
    """Finds a client and checks its secret."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def execute(self, client_id: str, secret: Secret | None) -> Client:
        """Return the client (RFC 6749 §2.3).

        Args:
            secret: None where the client sends none.

        Raises:
            InvalidClient: the client is unknown, its secret is wrong or missing, or a public one
                sends any.
            StoreUnavailable: the clients can't be read.
        """
        client = await self._clients.get(client_id)
        if client is None:
            raise InvalidClient
        if not client.is_proven_by(secret):
            raise InvalidClient(client_id=client.id)
        return client
