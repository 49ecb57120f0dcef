"""Which audience a client's next access token is for; shared by everything that issues one."""

from keyturn.domain.client import Client
from keyturn.domain.errors import InvalidTarget
from keyturn.domain.refresh_token_family import DEFAULT_CLIENT_ID
from keyturn.domain.resource import Resources
from keyturn.ports.clients import Clients


class Audiences:
    """Decides which audience a client gets for a `resource` (RFC 8707)."""

    def __init__(self, resources: Resources, clients: Clients) -> None:
        """Decide by the deployment's `resources`, and by what each of the `clients` may ask for."""
        self._resources = resources
        self._clients = clients

    async def of(self, client_id: str, resource: str | None) -> str:
        """Return the audience.

        Every client may have tokens for the default audience.

        Args:
            client_id: the client that asks, authenticated if it has a secret.
            resource: None where the client named none.

        Raises:
            InvalidTarget: there is no such resource, or the client may not ask for it.
            StoreUnavailable: the clients can't be read.
        """
        audience = self._resources.audience_of(resource)
        if audience == self._resources.default_audience:
            return audience
        client = await self._client(client_id)
        if client is None or not client.may_ask_for(audience):
            raise InvalidTarget
        return audience

    async def of_issuer(self, client_id: str) -> str:
        """Return the issuer as an audience.

        Raises:
            InvalidTarget: the client may not ask for it.
            StoreUnavailable: the clients can't be read.
        """
        return await self.of(client_id, self._resources.issuer)

    async def _client(self, client_id: str) -> Client | None:
        if client_id == DEFAULT_CLIENT_ID:
            return Client(client_id)
        return await self._clients.get(client_id)
