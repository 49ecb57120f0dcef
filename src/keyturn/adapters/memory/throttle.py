"""No throttle at all."""

from keyturn.domain.source import Source
from keyturn.ports.throttling import Throttle, ThrottledAction


class Unthrottled(Throttle):
    """Admits everything: for tests, and for a deployment that throttles in front of the service."""

    async def admit(
        self, action: ThrottledAction, *, source: Source | None, account: str | None = None
    ) -> None:
        """Return."""
