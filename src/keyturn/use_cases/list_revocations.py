"""Another service follows what is revoked here."""

from keyturn.domain.client import Client
from keyturn.domain.errors import ClientNotAllowed, InvalidClient
from keyturn.ports.revocations import RevocationList, RevocationPage
from keyturn.ports.system import Clock


class ListRevocations:
    """Reads the revocation list for those who follow it from afar."""

    def __init__(self, revocations: RevocationList, clock: Clock) -> None:
        self._revocations = revocations
        self._clock = clock

    async def execute(self, client: Client, after: str | None) -> RevocationPage:
        """Return what still matters of what was added since the page of cursor `after`.

        Raises:
            InvalidClient: the client is one that anybody may claim to be.
            ClientNotAllowed: the client may not read the feed.
            StoreUnavailable: the list can't be read.
        """
        if client.is_public:
            raise InvalidClient
        if not client.reads_revocations:
            raise ClientNotAllowed
        # Asked before the look: an entry that expires meanwhile is told once too often.
        now = self._clock.now()
        page = await self._revocations.read(after)
        alive = tuple(entry for entry in page.revocations if entry.expires_at > now)
        return RevocationPage(alive, page.cursor)
