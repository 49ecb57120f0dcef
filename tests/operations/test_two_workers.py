"""What happens on one worker holds on all of them, soon, and no worker guesses."""

import os
import re
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Protocol

import httpx
import pytest
from sqlalchemy import make_url

PERSON = {"email": "ada@example.com", "password": "a passphrase of my own"}
ISSUER = "http://127.0.0.1:8000"


class Api(Protocol):
    url: str

    def call(
        self, method: str, path: str, token: str | None = None, body: object = None
    ) -> httpx.Response: ...

    def register_and_log_in(self) -> dict[str, str]: ...

    def log_in(self) -> dict[str, str]: ...

    def verdicts(self, token: str, times: int = 8) -> set[int]: ...


Connect = Callable[[str], Api]
Eventually = Callable[[Callable[[], bool]], None]
Serve = Callable[..., AbstractContextManager[str]]


class CuttableProxy:
    """Stands between a service and its database, and lets nothing through while it is cut."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        """Lead to what `connect` connects to."""
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._cut = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def cut(self) -> None:
        self._cut = True
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._cut = False

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            if self._cut:
                near.close()
                continue
            far = self._connect()
            self._pairs.append((near, far))
            threading.Thread(target=self._pump, args=(near, far), daemon=True).start()

    @staticmethod
    def _pump(near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with closing(near), closing(far), suppress(OSError):
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    other[ready].sendall(data)


@pytest.fixture
def proxied(postgres_url: str) -> Iterator[tuple[CuttableProxy, str]]:
    """A way to a database that can be cut, and its URL."""
    url = make_url(postgres_url)
    folder = url.query.get("host")

    def connect() -> socket.socket:
        if folder is None:
            return socket.create_connection((url.host, url.port or 5432))
        near = socket.socket(socket.AF_UNIX)
        near.connect(f"{folder}/.s.PGSQL.{url.port or 5432}")
        return near

    with closing(CuttableProxy(connect)) as proxy:
        through = url.set(host="127.0.0.1", port=proxy.port, query={})
        yield proxy, through.render_as_string(hide_password=False)


@pytest.fixture
def on_postgres(environment: pytest.MonkeyPatch, postgres_url: str) -> None:
    environment.setenv("KEYTURN_DATABASE_URL", postgres_url)


@pytest.fixture(params=["database", "redis"])
def followed_in(
    request: pytest.FixtureRequest, environment: pytest.MonkeyPatch, on_postgres: None
) -> str:
    """Where revocations are followed, with PostgreSQL as the store: there too, or in Redis."""
    where: str = request.param
    if where == "redis":
        environment.setenv("KEYTURN_REDIS_URL", request.getfixturevalue("redis_url"))
    return where


@pytest.mark.usefixtures("followed_in")
def test_a_logout_kills_the_access_token_on_every_worker(
    serving: Serve, api: Connect, eventually: Eventually
) -> None:
    with serving("--workers", "2") as banner:
        service = api(banner)
        tokens = service.register_and_log_in()
        assert service.verdicts(tokens["access_token"]) == {204}
        assert service.call("POST", "/v1/auth/logout", tokens["access_token"]).status_code == 204
        eventually(lambda: service.verdicts(tokens["access_token"]) == {401})
        assert service.verdicts(service.log_in()["access_token"]) == {204}


@pytest.mark.usefixtures("followed_in")
def test_a_logout_on_one_service_is_known_to_another(
    serve_in: Serve,
    tmp_path: Path,
    environment: pytest.MonkeyPatch,
    api: Connect,
    eventually: Eventually,
) -> None:
    environment.setenv("KEYTURN_ISSUER", ISSUER)
    environment.setenv("KEYTURN_KEYS_DIR", str(tmp_path / "keys"))
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    with serve_in(folders[0]) as first, serve_in(folders[1]) as second:
        one, other = api(first), api(second)
        token = one.register_and_log_in()["access_token"]
        assert other.verdicts(token) == {204}
        one.call("POST", "/v1/auth/logout", token)
        assert one.verdicts(token, times=1) == {401}
        eventually(lambda: other.verdicts(token, times=1) == {401})


@pytest.mark.usefixtures("followed_in")
def test_a_demoted_administrator_is_refused_everywhere_and_a_refresh_tells_the_new_roles(
    serving: Serve, api: Connect, eventually: Eventually, keyturn_command: Callable[..., str]
) -> None:
    with serving("--workers", "2") as banner:
        service = api(banner)
        keyturn_command("roles", "define", "clerk", "users:read")
        tokens = service.register_and_log_in()
        keyturn_command("users", "set-roles", PERSON["email"], "clerk", "user")

        def refreshed(refresh_token: str, **more: str) -> dict[str, str]:
            body = {"refresh_token": refresh_token, **more}
            answer: dict[str, str] = service.call("POST", "/v1/auth/refresh", body=body).json()
            return answer

        # The administration takes tokens for the issuer, a proxy those for the default audience.
        tokens = refreshed(tokens["refresh_token"])
        for_issuer = refreshed(tokens["refresh_token"], resource=service.url)
        administer = "GET", "/v1/admin/users"
        assert service.call(*administer, for_issuer["access_token"]).status_code == 200
        keyturn_command("users", "set-roles", PERSON["email"], "user")
        eventually(lambda: service.verdicts(tokens["access_token"]) == {401})
        refused = service.call(*administer, for_issuer["access_token"])
        assert refused.status_code == 401
        renewed = refreshed(for_issuer["refresh_token"])
        verified = service.call("GET", "/v1/auth/verify", renewed["access_token"])
        assert verified.headers["x-auth-roles"] == "user"
        for_issuer = refreshed(renewed["refresh_token"], resource=service.url)
        assert service.call(*administer, for_issuer["access_token"]).status_code == 403


def test_with_the_database_cut_off_nobody_who_was_revoked_gets_back_in(
    serving: Serve,
    environment: pytest.MonkeyPatch,
    proxied: tuple[CuttableProxy, str],
    api: Connect,
    eventually: Eventually,
) -> None:
    proxy, url = proxied
    environment.setenv("KEYTURN_DATABASE_URL", url)
    environment.setenv("KEYTURN_REVOCATION_MAX_STALENESS", "2")
    with serving() as banner:
        service = api(banner)
        revoked = service.register_and_log_in()["access_token"]
        good = service.log_in()["access_token"]
        service.call("POST", "/v1/auth/logout", revoked)
        proxy.cut()
        seen: set[int] = set()

        def nobody_is_trusted() -> bool:
            seen.update(service.verdicts(revoked, times=1))
            return service.verdicts(good, times=1) == {503}

        eventually(nobody_is_trusted)
        assert service.call("GET", "/health/ready").status_code == 503
        proxy.mend()
        eventually(lambda: service.verdicts(good, times=1) == {204})
        eventually(lambda: service.call("GET", "/health/ready").status_code == 200)
        assert seen | service.verdicts(revoked) == {401}


@pytest.mark.usefixtures("on_postgres")
def test_the_figures_of_both_workers_are_on_one_page_also_of_a_worker_that_was_killed(
    serving: Serve, environment: pytest.MonkeyPatch, api: Connect, eventually: Eventually
) -> None:
    environment.setenv("KEYTURN_METRICS_PORT", "0")
    with serving("--workers", "2") as banner:
        service = api(banner)
        page = re.search(r"Metrics are at (http://127\.0\.0\.1:\S+)", banner)
        assert page

        def figures() -> list[str]:
            return httpx.get(page[1], timeout=60).text.splitlines()

        token = service.register_and_log_in()["access_token"]
        service.verdicts(token, times=20)
        route = 'method="GET",route="/v1/auth/verify"'

        def verified(times: int) -> bool:
            return f'keyturn_http_requests_total{{{route},status="204"}} {times}.0' in figures()

        eventually(lambda: verified(20))
        assert 'keyturn_logins_total{result="succeeded"} 1.0' in figures()
        for worker in workers_of_this_process():
            os.kill(worker, signal.SIGKILL)
        assert verified(20)
        eventually(lambda: service.call("GET", "/health/live").status_code == 200)
        service.verdicts(token, times=5)
        eventually(lambda: verified(25))

        def both_follow() -> bool:
            name = "keyturn_revocations_followed"
            [followed] = [line for line in figures() if line.startswith(name)]
            return float(followed.split()[1]) > 0

        eventually(both_follow)


def workers_of_this_process() -> list[int]:
    """The workers of the one service that this process has started."""
    [service] = children_of(os.getpid())
    return children_of(service)


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            stat = entry.read_text()
            command = entry.with_name("cmdline").read_bytes()
            # The fields behind the name, which may have blanks in it.
            if (
                int(stat.rpartition(")")[2].split()[1]) == pid
                and b"resource_tracker" not in command
            ):
                found.append(int(entry.parent.name))
    return found
