"""What is measured: keyturn in several settings, its peers, and the limits."""

import json
import os
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import jwt
from benchmarks.installing import Installed, install
from benchmarks.load import Chain
from benchmarks.processes import (
    ROOT,
    DidNotWork,
    Server,
    Stage,
    clean_environment,
    execute,
    free_port,
    request,
    wait_for_answer,
)

PASSWORD = "nine purple anvils under the moon"
ARGON2 = (3, 65536, 4)
"""Passes, KiB and lanes, for everybody: what keyturn does by default."""

CHAINS = 64
"""Sessions whose refresh tokens are rotated, each with a user of its own."""

USERS = 512
"""Those of the sessions, and then those who log in."""

ACCESS_SECONDS = 3600
PREPARE_SECONDS = 300
_JSON = "Content-Type: application/json"
_FORM = "Content-Type: application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Api:
    """How a server is asked for what is measured; what it can't be asked for is None.

    Args:
        ready: a path that says that it has started, by any answer.
        verify: the path that checks an access token.
        login: the path that checks a password.
        login_body: its body, with `{email}` and `{password}` in it.
        login_headers: more of its header lines.
        token: the JSON member of its answer that holds the access token.
        refresh: the path that rotates.
        refresh_body: its body, with `{token}` in it.
        refresh_headers: more of its header lines.
        next_token: the JSON member of the answers that holds the refresh token.
    """

    ready: str
    verify: str | None = None
    login: str | None = None
    login_body: str = '{{"email": "{email}", "password": "{password}"}}'
    login_headers: tuple[str, ...] = (_JSON,)
    token: str = "access_token"
    refresh: str | None = None
    refresh_body: str = '{{"refresh_token": "{token}"}}'
    refresh_headers: tuple[str, ...] = (_JSON,)
    next_token: str = "refresh_token"


@dataclass(slots=True)
class Running:
    """A server that answers, and the tokens that it has handed out."""

    subject: "Subject"
    server: Server
    port: int
    database_url: str | None = None
    access_tokens: list[str] = field(default_factory=list)
    refresh_tokens: list[str] = field(default_factory=list)
    keys: Path | None = None

    @property
    def api(self) -> Api:
        """How it is asked."""
        return self.subject.api

    def verify_request(self, token: str | None) -> str:
        """Return a whole request that presents an access token, or none to a limit."""
        headers = [] if token is None else [f"Authorization: Bearer {token}"]
        return _head("GET", self.api.verify, self.port, headers) + "\r\n\r\n"

    def warm_requests(self, connections: int) -> list[str]:
        """Return the requests that verify the same tokens again and again, one a connection."""
        if not self.subject.has_tokens:
            return [self.verify_request(None)]
        self._log_everybody_in()
        return [self.verify_request(token) for token in self.access_tokens[:connections]]

    def login_requests(self) -> list[str]:
        """Return a login of each user who has no chain of tokens."""
        return [self._login_request(number) for number in range(CHAINS, USERS)]

    def chain(self, connections: int) -> Chain:
        """Return rotations in which each connection follows its own session."""
        self._log_everybody_in()
        before, _, after = self.api.refresh_body.partition("{token}")
        return Chain(
            head=_head("POST", self.api.refresh, self.port, self.api.refresh_headers),
            before=before.format(),
            after=after.format(),
            member=self.api.next_token,
            tokens=[[token] for token in self.refresh_tokens[:connections]],
        )

    def follow(self, tokens: list[list[str]]) -> None:
        """Remember the newest token of each session."""
        self.refresh_tokens[: len(tokens)] = [token for (token,) in tokens]

    def _login_request(self, number: int) -> str:
        body = self._login_body(number)
        headers = (*self.api.login_headers, f"Content-Length: {len(body)}")
        return _head("POST", self.api.login, self.port, headers) + "\r\n\r\n" + body

    def _login_body(self, number: int) -> str:
        email, password = f"user{number}@example.com", PASSWORD
        if _FORM in self.api.login_headers:
            email, password = quote(email), quote(password)
        return self.api.login_body.format(email=email, password=password)

    def _log_everybody_in(self) -> None:
        # Each has handed out what it has: the limits no access tokens, some peers no others.
        if self.access_tokens or self.refresh_tokens:
            return
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            answers = list(threads.map(self._log_in, range(CHAINS)))
        self.access_tokens = [answer[self.api.token] for answer in answers]
        if self.api.refresh is not None:
            self.refresh_tokens = [answer[self.api.next_token] for answer in answers]

    def _log_in(self, number: int) -> dict[str, str]:
        assert self.api.login is not None
        headers = dict(line.split(": ", 1) for line in self.api.login_headers)
        body = self._login_body(number)
        status, answer = request(self.port, "POST", self.api.login, body, headers)
        if status != 200:
            raise DidNotWork(f"{self.subject.name}: a login answered {status}: {answer[:300]!r}")
        tokens: dict[str, str] = json.loads(answer)
        return tokens


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that is measured.

    Args:
        name: what the command line and the results call it.
        title: what people read.
        api: how it is asked.
        start: how it comes to run, given where and as what.
        kind: `keyturn`, `peer` or `limit`.
        has_tokens: whether a verified request presents one.
    """

    name: str
    title: str
    api: Api
    start: Callable[[Stage, "Subject"], Running]
    kind: str = "peer"
    has_tokens: bool = True


KEYTURN_API = Api(
    ready="/health/ready",
    verify="/v1/auth/verify",
    login="/v1/auth/login",
    refresh="/v1/auth/refresh",
)


def keyturn(
    algorithm: str = "HS256",
    *,
    database: str = "postgres",
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Callable[[Stage, Subject], Running]:
    """Return what starts keyturn as `keyturn serve` does, with its own defaults but for these."""

    def start(stage: Stage, subject: Subject) -> Running:
        folder = stage.new_folder(subject.name)
        if database == "postgres":
            url = stage.postgres_database(subject.name)
        else:
            url = f"sqlite:///{folder / 'keyturn.sqlite'}"
        settings = keyturn_environment(folder, url, algorithm) | dict(environment or {})
        return start_keyturn(stage, subject, folder, url, settings, workers)

    return start


def keyturn_environment(folder: Path, url: str, algorithm: str = "HS256") -> dict[str, str]:
    """Return the settings of a measured keyturn."""
    passes, memory, lanes = ARGON2
    return {
        "PYTHONPATH": str(ROOT / "src"),
        "KEYTURN_DATA_DIR": str(folder),
        "KEYTURN_DATABASE_URL": url,
        "KEYTURN_ALGORITHM": algorithm,
        "KEYTURN_ISSUER": "http://127.0.0.1:8000",
        # Longer than a run takes: what is measured is not how often a client refreshes.
        "KEYTURN_ACCESS_TTL": str(ACCESS_SECONDS * 4),
        "KEYTURN_ARGON2_TIME_COST": str(passes),
        "KEYTURN_ARGON2_MEMORY_KIB": str(memory),
        "KEYTURN_ARGON2_PARALLELISM": str(lanes),
        # Nobody else writes a line for each request either; `keyturn-logging` does.
        "KEYTURN_LOG_LEVEL": "warning",
    }


def start_keyturn(
    stage: Stage,
    subject: Subject,
    folder: Path,
    url: str,
    settings: Mapping[str, str],
    workers: int = 1,
    *,
    with_users: bool = True,
) -> Running:
    """Migrate and serve; make the users by copying one who has registered."""
    command = [sys.executable, "-m", "keyturn"]
    _prepare([*command, "migrate"], settings, folder)
    port = free_port()
    serve = [*command, "serve", "--port", str(port), "--workers", str(workers)]
    server = stage.start(subject.name, serve, environment=settings, folder=folder)
    wait_for_answer(port, subject.api.ready, server)
    if with_users:
        _register(port)
        execute_anywhere(url, *copies_of_users(url, USERS))
    return Running(subject, server, port, url, keys=folder / "keys")


def _register(port: int) -> None:
    body = json.dumps({"email": "user0@example.com", "password": PASSWORD})
    headers = {"Content-Type": "application/json"}
    status, answer = request(port, "POST", "/v1/auth/register", body, headers)
    if status != 201:
        raise DidNotWork(f"keyturn: registering answered {status}: {answer[:300]!r}")


def copies_of_users(url: str, count: int) -> list[str]:
    """Return statements that make users 1 to `count` as copies of the one who has registered."""
    if url.startswith("sqlite:"):
        numbers = (
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1})"
        )
        values = {"id": "lower(hex(randomblob(16)))"}
        series = "n"
    else:
        numbers = ""
        values = {"id": "gen_random_uuid()"}
        series = f"generate_series(1, {count - 1}) AS n(i)"
    email = "'user' || i || '@example.com'"
    values |= {"email": email, "email_key": email}
    columns = columns_of(url, "users")
    copied = ", ".join(values.get(column, f"u.{column}") for column in columns)
    return [
        f"INSERT INTO users ({', '.join(columns)}) {numbers} "
        f"SELECT {copied} FROM users u, {series}",
        "INSERT INTO user_roles (user_id, role) "
        "SELECT u.id, r.role FROM users u, user_roles r "
        "WHERE u.id NOT IN (SELECT user_id FROM user_roles)",
    ]


def columns_of(url: str, table: str) -> list[str]:
    """Return the names of a table's columns."""
    if url.startswith("sqlite:"):
        rows = execute_anywhere(url, f"SELECT name FROM pragma_table_info('{table}')")
    else:
        rows = execute_anywhere(
            url,
            "SELECT column_name FROM information_schema.columns "
            f"WHERE table_name = '{table}' AND table_schema = 'public' ORDER BY ordinal_position",
        )
    return [str(row[0]) for row in rows]


def execute_anywhere(url: str, *statements: str) -> Sequence[Sequence[object]]:
    """Run statements on either kind of database and return the rows of the last."""
    if not url.startswith("sqlite:"):
        return execute(url, *statements)
    import sqlite3  # noqa: PLC0415

    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)
    try:
        rows: list[Sequence[object]] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
        return rows
    finally:
        connection.close()


def fresh_tokens(running: Running, count: int) -> list[str]:
    """Return access tokens that the server has never seen, signed with its key."""
    assert running.keys is not None
    [file] = running.keys.glob("*.jwk")
    key = jwt.PyJWK.from_json(file.read_text())
    jwk = json.loads(file.read_text())
    algorithm = jwk.get("alg") or {"oct": "HS256", "RSA": "RS256", "OKP": "EdDSA"}[jwk["kty"]]
    now = int(time.time())
    headers = {"kid": jwk["kid"], "typ": "at+jwt"}

    def token(_: int) -> str:
        claims = {
            "iss": "http://127.0.0.1:8000",
            "aud": "keyturn",
            "sub": str(uuid.uuid4()),
            "iat": now,
            "exp": now + ACCESS_SECONDS,
            "jti": str(uuid.uuid4()),
            "sid": str(uuid.uuid4()),
            "epoch": 0,
            "client_id": "keyturn",
            "type": "access",
            "roles": ["user"],
            "permissions": ["profile:read", "profile:write"],
        }
        return jwt.encode(claims, key.key, algorithm, headers=headers)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(token, range(count), chunksize=64))


def uvicorn(app: str, *, log: bool = False) -> Callable[[Installed, int], list[str]]:
    """Return the command that serves an ASGI app as keyturn serves itself."""

    def command(installed: Installed, port: int) -> list[str]:
        return [
            *(str(installed.executable), "-m", "uvicorn", app),
            *("--host", "127.0.0.1", "--port", str(port), "--backlog", "2048"),
            *("--loop", "uvloop", "--http", "httptools", "--ws", "none"),
            *("--no-proxy-headers", "--no-server-header"),
            *(("--access-log",) if log else ("--no-access-log", "--log-level", "warning")),
        ]

    return command


def gunicorn(app: str) -> Callable[[Installed, int], list[str]]:
    """Return the command that serves a WSGI app: one worker, with threads to keep connections."""

    def command(installed: Installed, port: int) -> list[str]:
        return [
            *(str(installed.executable), "-m", "gunicorn", app, "--bind", f"127.0.0.1:{port}"),
            *("--workers", "1", "--worker-class", "gthread", "--threads", "4"),
            *("--keep-alive", "75", "--log-level", "warning", "--no-control-socket"),
        ]

    return command


def node(installed: Installed, _: int) -> list[str]:
    """Return the command that serves a peer of Node's."""
    return [str(installed.executable), "server.mjs"]


def peer(
    folder: str,
    command: Callable[[Installed, int], list[str]],
    *,
    prepare: str | None = "prepare.py",
    database: str | None = "postgres",
    redis: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Callable[[Stage, Subject], Running]:
    """Return what installs, prepares and starts a peer that stands in a folder of `peers/`."""

    def start(stage: Stage, subject: Subject) -> Running:
        installed = install(folder)
        files = stage.new_folder(subject.name)
        url = None
        if database == "postgres":
            url = stage.postgres_database(subject.name)
        elif database == "sqlite":
            url = f"sqlite:///{files / 'prototype.sqlite'}"
        port = free_port()
        settings = {
            "BENCH_SECRET": secrets.token_hex(32),
            "BENCH_PASSWORD": PASSWORD,
            "BENCH_USERS": str(USERS),
            "BENCH_CHAINS": str(CHAINS),
            "BENCH_ARGON2": ",".join(map(str, ARGON2)),
            "BENCH_ACCESS_SECONDS": str(ACCESS_SECONDS),
            "BENCH_FILES": str(files),
            "BENCH_PORT": str(port),
            **({"DATABASE_URL": url} if url else {}),
            **({"REDIS_URL": stage.redis_url()} if redis else {}),
            "NODE_ENV": "production",
            **(environment or {}),
        }
        running = Running(subject, None, port, url)  # type: ignore[arg-type]
        if prepare is not None:
            said = _prepare([str(installed.executable), prepare], settings, installed.folder)
            made = json.loads(said) if said.strip() else {}
            running.access_tokens = made.get("access_tokens", [])
            running.refresh_tokens = made.get("refresh_tokens", [])
        running.server = stage.start(
            subject.name,
            command(installed, port),
            environment=settings | installed.environment,
            folder=installed.folder,
        )
        wait_for_answer(port, subject.api.ready, running.server)
        return running

    return start


def _prepare(command: Sequence[str], settings: Mapping[str, str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean_environment() | dict(settings),
        capture_output=True,
        text=True,
        timeout=PREPARE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise DidNotWork(f"{' '.join(command[-2:])}: {done.stderr[-1500:]}")
    return done.stdout


def _head(method: str, path: str | None, port: int, headers: Sequence[str]) -> str:
    if path is None:
        raise DidNotWork("there is nothing to ask it for")
    return "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers))


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("keyturn", "keyturn, HS256", KEYTURN_API, keyturn(), "keyturn"),
        Subject("keyturn-rs256", "keyturn, RS256", KEYTURN_API, keyturn("RS256"), "keyturn"),
        Subject("keyturn-eddsa", "keyturn, EdDSA", KEYTURN_API, keyturn("EdDSA"), "keyturn"),
        Subject(
            "keyturn-logging",
            "keyturn, HS256, a log line for each request",
            KEYTURN_API,
            keyturn(environment={"KEYTURN_LOG_LEVEL": "info"}),
            "keyturn",
        ),
        Subject(
            "keyturn-sqlite",
            "keyturn on SQLite",
            KEYTURN_API,
            keyturn(database="sqlite"),
            "keyturn",
        ),
        Subject(
            "constant",
            "FastAPI, a constant",
            Api(ready="/constant", verify="/constant"),
            peer("limits", uvicorn("constant:app"), prepare=None, database=None),
            "limit",
            has_tokens=False,
        ),
        Subject(
            "empty",
            "FastAPI, an empty answer",
            Api(ready="/empty", verify="/empty"),
            peer("limits", uvicorn("constant:app"), prepare=None, database=None),
            "limit",
            has_tokens=False,
        ),
        Subject(
            "constant-logging",
            "FastAPI, a constant and a log line",
            Api(ready="/constant", verify="/constant"),
            peer("limits", uvicorn("constant:app", log=True), prepare=None, database=None),
            "limit",
            has_tokens=False,
        ),
        Subject(
            "raw",
            "the load generator's own limit",
            Api(ready="/", verify="/"),
            peer(
                "limits",
                lambda installed, port: [str(installed.executable), "raw.py", str(port)],
                prepare=None,
                database=None,
            ),
            "limit",
            has_tokens=False,
        ),
        Subject(
            "prototype",
            "hand-written, asyncpg, one statement",
            Api(ready="/refresh", refresh="/refresh"),
            peer("prototype", uvicorn("postgres:app")),
            "limit",
        ),
        Subject(
            "prototype-sqlite",
            "hand-written, one writing thread",
            Api(ready="/refresh", refresh="/refresh"),
            peer("prototype", uvicorn("sqlite:app"), database="sqlite"),
            "limit",
        ),
        *(
            Subject(
                f"fastapi-users-{strategy}",
                f"fastapi-users, {title}",
                Api(
                    ready="/verify",
                    verify="/verify",
                    login="/login",
                    login_body="username={email}&password={password}",
                    login_headers=(_FORM,),
                ),
                peer(
                    "fastapi_users",
                    uvicorn("app:app"),
                    environment={"BENCH_STRATEGY": strategy},
                ),
            )
            for strategy, title in (("jwt", "JWT"), ("database", "database"))
        ),
        Subject(
            "authx",
            "AuthX",
            Api(ready="/verify", verify="/verify", login="/login"),
            peer("authx", uvicorn("app:app")),
        ),
        Subject(
            "django-simplejwt",
            "Django + SimpleJWT",
            Api(
                ready="/ready",
                verify="/verify",
                login="/login",
                login_body='{{"username": "{email}", "password": "{password}"}}',
                token="access",
                refresh="/refresh",
                refresh_body='{{"refresh": "{token}"}}',
                next_token="refresh",
            ),
            peer("django_simplejwt", gunicorn("wsgi:application")),
        ),
        Subject(
            "flask-jwt-extended",
            "Flask-JWT-Extended, blocklist on Redis",
            Api(ready="/verify", verify="/verify", login="/login", refresh="/refresh"),
            peer("flask_jwt_extended", gunicorn("app:app"), redis=True),
        ),
        Subject(
            "better-auth",
            "better-auth",
            Api(
                ready="/verify",
                verify="/verify",
                login="/api/auth/sign-in/email",
                token="token",
            ),
            peer("better_auth", node, prepare="prepare.mjs"),
        ),
        Subject(
            "oidc-provider",
            "oidc-provider on PostgreSQL",
            Api(
                ready="/.well-known/openid-configuration",
                verify="/me",
                refresh="/token",
                refresh_body="grant_type=refresh_token&client_id=bench&refresh_token={token}",
                refresh_headers=(_FORM,),
            ),
            peer("oidc_provider", node, prepare="prepare.mjs"),
        ),
    )
}
"""Everything that can be measured, by name."""
