"""What tests of several adapters share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]


class Wire:
    """A TCP connection to a server that can be cut, and mended again."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def mend(self) -> None:
        """Listen, at the same port every time."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Drop every connection, and accept none."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._open):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await self._connect()
        self._open |= {writer, server_writer}
        await asyncio.gather(
            self._forward(reader, server_writer), self._forward(server_reader, writer)
        )

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
        target.close()
        with suppress(OSError):
            await target.wait_closed()
        self._open.discard(target)


@pytest.fixture
async def lay_wire() -> AsyncIterator[Callable[[Connect], Awaitable[Wire]]]:
    """Lays wires to servers, and takes them up after the test."""
    wires: list[Wire] = []

    async def lay(connect: Connect) -> Wire:
        wires.append(Wire(connect))
        await wires[-1].mend()
        return wires[-1]

    yield lay
    for wire in wires:
        await wire.cut()
