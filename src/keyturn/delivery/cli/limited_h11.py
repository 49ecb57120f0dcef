"""A connection with limits, read by h11: where there is no wheel of httptools."""

import asyncio
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from keyturn.delivery.cli.limited_connection import (
    SLICE_BYTES,
    ConnectionRefused,
    LimitedConnection,
)

_Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class LimitedH11(LimitedConnection, H11Protocol):
    """uvicorn's protocol, whose parser tells the limits where in a request it is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put a parser in place that shows each event before uvicorn sees it."""
        super().connection_made(transport)
        self.conn = _ShownConnection(self._on_event, self._limits.max_header_bytes)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's, for what it logs
        """Answer as a problem what uvicorn answers as plain text."""
        self._refuse_request()

    def _on_event(self, event: _Event) -> None:
        if isinstance(event, h11.Request):
            self._request_version = event.http_version.decode("ascii")
            self._require_head(len(event.target), list(event.headers))
            self._head_ended()
        elif isinstance(event, h11.Data):
            self._body_received(len(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self._message_ended()

    @property
    def _http_version(self) -> str:
        return self._request_version

    @property
    def _url_bytes(self) -> int:
        return len(self.conn.trailing_data[0].partition(b"\r\n")[0])


class _ShownConnection(h11.Connection):
    def __init__(self, show: Callable[[_Event], None], max_header_bytes: int) -> None:
        # A little more: what is too large is refused by who counts, who knows what it is.
        super().__init__(h11.SERVER, max_header_bytes + 2 * SLICE_BYTES)
        self._show = show

    def next_event(self) -> _Event:
        event = super().next_event()
        try:
            self._show(event)
        except ConnectionRefused:
            raise h11.RemoteProtocolError("the connection is refused") from None
        return event
