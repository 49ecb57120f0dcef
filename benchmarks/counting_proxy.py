"""Stands between a server and PostgreSQL and counts how often the server waits for an answer.

    python -m benchmarks.counting_proxy SOCKET_TO_LISTEN_ON SOCKET_OF_POSTGRES FILE

The file holds the count in its first eight bytes, in the order of the machine.
"""

import asyncio
import mmap
import struct
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.processes import DidNotWork, Server, Stage, wait_for

# Query, Sync and Flush: after each of these the client waits for the server to answer.
WAITING = frozenset(b"QSH")


class FrontendMessages:
    """Counts the messages of one client that ask for an answer."""

    def __init__(self) -> None:
        self._rest = b""
        self._has_begun = False

    def count(self, data: bytes) -> int:
        """Return how many messages that ask for an answer end in this piece."""
        received = self._rest + data
        position = found = 0
        while True:
            # The first message has no letter.
            head = 5 if self._has_begun else 4
            if len(received) - position < head:
                break
            (length,) = struct.unpack_from("!I", received, position + head - 4)
            if len(received) - position < length + head - 4:
                break
            found += self._has_begun and received[position] in WAITING
            self._has_begun = True
            position += length + head - 4
        self._rest = received[position:]
        return found


def counted(stage: Stage, name: str, url: str) -> tuple[str, Path]:
    """Return a URL of the same database by way of a counter, and the file with the count."""
    query = parse_qs(urlsplit(url).query)
    if "host" not in query:
        raise DidNotWork("round trips are counted on a socket, which this PostgreSQL has not")
    folder = stage.new_folder("counted")
    listening = folder / ".s.PGSQL.5432"
    file = folder / "count"
    file.write_bytes(bytes(8))
    behind = Path(query["host"][0]) / ".s.PGSQL.5432"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "benchmarks.counting_proxy",
        listening,
        behind,
        file,
    ]
    root = Path(__file__).parents[1]
    server: Server = stage.start(f"{name}-counter", command, folder=root)
    wait_for(listening.exists, server)
    return url.partition("?")[0] + f"?host={folder}", file


def read_count(file: Path) -> int:
    """Return how often a server has waited so far."""
    return int(struct.unpack("=q", file.read_bytes())[0])


async def main(listening: str, behind: str, memory: mmap.mmap) -> None:
    """Pass everything on, for ever."""
    total = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal total
        reader_behind, writer_behind = await asyncio.open_unix_connection(behind)
        back = asyncio.create_task(_pass_on(reader_behind, writer))
        messages = FrontendMessages()
        while data := await reader.read(65536):
            total += messages.count(data)
            memory[:8] = struct.pack("=q", total)
            writer_behind.write(data)
        writer_behind.close()
        await back

    server = await asyncio.start_unix_server(serve, listening)
    await server.serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


if __name__ == "__main__":
    with Path(sys.argv[3]).open("r+b") as opened, mmap.mmap(opened.fileno(), 8) as count:
        asyncio.run(main(sys.argv[1], sys.argv[2], count))
