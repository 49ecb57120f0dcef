"""A connection with limits, read by httptools."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from keyturn.delivery.cli.limited_connection import MAX_PIPELINED, LimitedConnection
from keyturn.delivery.http.errors import TooManyConnections


class LimitedHttptools(LimitedConnection, HttpToolsProtocol):
    """uvicorn's protocol, whose callbacks tell the limits where in a request they are."""

    def on_headers_complete(self) -> None:
        """Let the app begin, unless the head is to be refused."""
        if len(self.pipeline) >= MAX_PIPELINED:
            # Those that wait are answered, then the connection is closed.
            self._fail(TooManyConnections())
        self._require_head(len(self.url), self.headers)
        super().on_headers_complete()
        self._head_ended()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body_received(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of the body."""
        super().on_message_complete()
        self._message_ended()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's, for what it logs
        """Answer as a problem what uvicorn answers as plain text."""
        self._refuse_request()

    @property
    def _http_version(self) -> str:
        return self.parser.get_http_version()

    @property
    def _url_bytes(self) -> int:
        # There is no URL before the first request has begun.
        return len(getattr(self, "url", b""))

    @property
    def _waits_for_others(self) -> bool:
        return bool(self.pipeline) and self.pipeline[0][0] is self.cycle
