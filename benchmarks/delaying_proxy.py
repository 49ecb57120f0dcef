"""Stands between a server and PostgreSQL and makes each round trip take longer, as a network does.

    python -m benchmarks.delaying_proxy SOCKET_TO_LISTEN_ON SOCKET_OF_POSTGRES MILLISECONDS

A driver writes what it wants answered in one piece. Each piece waits before it is passed on.
"""

import asyncio
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.processes import DidNotWork, Stage, wait_for


def delayed(stage: Stage, url: str, milliseconds: float) -> str:
    """Return a URL of the same database by way of a proxy that delays each round trip.

    Raises:
        DidNotWork: the URL names no socket, or the proxy did not start.
    """
    query = parse_qs(urlsplit(url).query)
    if "host" not in query:
        raise DidNotWork("the proxy needs the socket of a PostgreSQL server on this machine")
    folder = stage.new_folder("delayed")
    listening = folder / ".s.PGSQL.5432"
    behind = Path(query["host"][0]) / ".s.PGSQL.5432"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "benchmarks.delaying_proxy",
        listening,
        behind,
        str(milliseconds),
    ]
    server = stage.start("delaying-proxy", command, folder=Path(__file__).parents[1])
    wait_for(listening.exists, server)
    return url.partition("?")[0] + f"?host={folder}"


async def main(listening: str, behind: str, seconds: float) -> None:
    """Pass everything on, for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader_behind, writer_behind = await asyncio.open_unix_connection(behind)
        back = asyncio.create_task(_pass_on(reader_behind, writer, 0))
        await _pass_on(reader, writer_behind, seconds)
        await back

    server = await asyncio.start_unix_server(serve, listening)
    await server.serve_forever()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    while data := await reader.read(65536):
        if seconds:
            await asyncio.sleep(seconds)
        writer.write(data)
    writer.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000))
