"""Listens, and runs the processes that answer."""

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from keyturn.delivery.cli.connection_limits import (
    BACKLOG,
    SHUTDOWN_SECONDS,
    ConnectionLimits,
    ServerConfig,
)
from keyturn.delivery.cli.operations import Refusal

METRICS_CONNECTIONS = 64
"""Connections to the metrics at once: Prometheus needs one."""

_ANY_HOST = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens already: who connects early waits for the first worker.

    Raises:
        Refusal: the address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        problem = str(error.strerror).partition(" (")[0]
        raise Refusal(f"can't listen on {host}:{port}: {problem}") from None


def serve(
    make_app: Callable[[], object],
    listener: socket.socket,
    *,
    limits: ConnectionLimits,
    workers: int,
    logs: dict[str, object],
    notes: Sequence[str] = (),
    has_docs: bool = True,
) -> None:
    """Answer until SIGTERM or SIGINT, then let what has begun come to its end.

    Args:
        make_app: makes the ASGI app in each worker; must be picklable.
        listener: see `listen`.
        limits: what every worker allows one connection, and how many it serves.
        workers: processes; a single one is this one.
        logs: how each of them logs, for `logging.config.dictConfig`.
        notes: lines that are printed below the address of the service.
        has_docs: whether the page `/docs` is there to be named.
    """
    _allow_many_files()
    config = ServerConfig(make_app, limits=limits, workers=workers, logs=logs)
    print(_welcome(listener, notes, has_docs=has_docs), flush=True)
    with listener:
        if workers > 1:
            _serve_with_workers(config, listener)
        else:
            _serve_here(config, listener)


@contextmanager
def serve_metrics(make_app: Callable[[], object], listener: socket.socket) -> Iterator[None]:
    """Answer Prometheus in a thread beside the service, for as long as the block lasts.

    Args:
        make_app: makes the ASGI app, in this process.
        listener: a listener of its own; see `listen`.
    """
    limits = ConnectionLimits(max_connections=METRICS_CONNECTIONS)
    server = uvicorn.Server(ServerConfig(make_app, limits=limits, workers=1, logs=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    print(f"Metrics are at {_address(listener)}/metrics", flush=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=SHUTDOWN_SECONDS)


def _allow_many_files() -> None:
    """Raise the limit of open files, which is too low for the connections, as far as allowed."""
    # Windows has no such limit and no such module.
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - see above

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _serve_here(config: uvicorn.Config, listener: socket.socket) -> None:
    # The server raises the signal again when it is done with it: by then it means nothing.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _serve_with_workers(config: uvicorn.Config, listener: socket.socket) -> None:
    supervisor = Multiprocess(config, sockets=[listener])
    supervisor.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        sys.exit(STARTUP_FAILURE)


def _welcome(listener: socket.socket, notes: Sequence[str], *, has_docs: bool) -> str:
    """Return what a newcomer needs: where the service is, and how to log in."""
    address = _address(listener)
    person = '{"email": "ada@example.com", "password": "a passphrase of my own"}'
    post = "curl -H 'content-type: application/json' -d"
    lines = [f"keyturn is at {address}", *notes]
    if has_docs:
        lines.append(f"In a browser: {address}/docs")
    first_lines = "\n".join(lines)
    return f"""
{first_lines}
In a shell:

  {post} '{person}' {address}/v1/auth/register
  {post} '{person}' {address}/v1/auth/login
  {post} '{{"refresh_token": "..."}}' {address}/v1/auth/refresh
"""


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in _ANY_HOST:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
