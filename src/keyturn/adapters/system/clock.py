"""The machine's clock."""

from datetime import UTC, datetime

from keyturn.ports.system import Clock


class SystemClock(Clock):
    """Tells the time of the machine."""

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""
        return datetime.now(UTC)
