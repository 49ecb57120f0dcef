"""The cheapest HTTP server that the load generator can be held against: it reads nothing.

python raw.py PORT
"""

import asyncio
import sys

import uvloop

ANSWER = b"HTTP/1.1 204 No Content\r\nserver: raw\r\n\r\n"


class Raw(asyncio.Protocol):
    """Answers whatever comes with one constant."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = transport

    def data_received(self, _: bytes) -> None:
        """Answer."""
        self._transport.write(ANSWER)  # type: ignore[attr-defined]


async def main(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Raw, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
