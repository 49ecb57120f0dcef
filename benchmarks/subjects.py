"""What is measured: keyturn in several settings, its peers, and the limits."""

import functools
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
from benchmarks.counting_proxy import counted
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

SESSIONS_EACH = 5
"""Sessions of each user, where there are many."""

ACCESS_SECONDS = 3600
ISSUER = "http://127.0.0.1:8000"
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
    server: Server | None = None
    port: int = 0
    database_url: str | None = None
    access_tokens: list[str] = field(default_factory=list)
    # For each connection, the sessions that it rotates in turn.
    chains: list[list[str]] = field(default_factory=list)
    keys: Path | None = None
    # Starts another process of the same, on another port.
    spawn: Callable[[int], Server] | None = None
    # Where its waits for the database are counted.
    counted: Path | None = None

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
            tokens=self.chains[:connections],
        )

    def follow(self, tokens: list[list[str]]) -> None:
        """Remember the newest token of each session."""
        self.chains[: len(tokens)] = tokens

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
        if self.access_tokens or self.chains:
            return
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            answers = list(threads.map(self.log_in, range(CHAINS)))
        self.access_tokens = [answer[self.api.token] for answer in answers]
        if self.api.refresh is not None:
            self.chains = [[answer[self.api.next_token]] for answer in answers]

    def log_in(self, number: int) -> dict[str, str]:
        """Return what a login of this user is answered with."""
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
    is_counted: bool = False,
    environment: Mapping[str, str] | None = None,
    module: Sequence[str] = ("keyturn",),
) -> Callable[[Stage, Subject], Running]:
    """Return what starts keyturn as `keyturn serve` does, with its own defaults but for these."""

    def start(stage: Stage, subject: Subject) -> Running:
        folder = stage.new_folder(subject.name)
        if database == "postgres":
            url = stage.postgres_database(subject.name)
        else:
            url = f"sqlite:///{folder / 'keyturn.sqlite'}"
        file = None
        if is_counted:
            url, file = counted(stage, subject.name, url)
        settings = keyturn_environment(folder, url, algorithm) | dict(environment or {})
        running = start_keyturn(stage, subject, folder, url, settings, workers, module)
        running.counted = file
        return running

    return start


def keyturn_environment(folder: Path, url: str, algorithm: str = "HS256") -> dict[str, str]:
    """Return the settings of a measured keyturn."""
    passes, memory, lanes = ARGON2
    return {
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "KEYTURN_DATA_DIR": str(folder),
        "KEYTURN_DATABASE_URL": url,
        "KEYTURN_ALGORITHM": algorithm,
        "KEYTURN_ISSUER": ISSUER,
        # Longer than a run takes: what is measured is not how often a client refreshes.
        "KEYTURN_ACCESS_TTL": str(ACCESS_SECONDS * 4),
        "KEYTURN_ARGON2_TIME_COST": str(passes),
        "KEYTURN_ARGON2_MEMORY_KIB": str(memory),
        "KEYTURN_ARGON2_PARALLELISM": str(lanes),
        # Nobody else writes a line for each request either; `keyturn-logging` does.
        "KEYTURN_LOG_LEVEL": "warning",
        # Nobody else has one, and all requests come from one address.
        "KEYTURN_THROTTLE": "off",
    }


def start_keyturn(
    stage: Stage,
    subject: Subject,
    folder: Path,
    url: str,
    settings: Mapping[str, str],
    workers: int = 1,
    module: Sequence[str] = ("keyturn",),
) -> Running:
    """Migrate and serve; make the users by copying one who has registered."""
    _prepare([sys.executable, "-m", "keyturn", "migrate"], settings, folder)

    def spawn(port: int) -> Server:
        serve = [
            sys.executable,
            "-m",
            *module,
            "serve",
            "--port",
            str(port),
            "--workers",
            str(workers),
        ]
        return stage.start(subject.name, serve, environment=settings, folder=folder)

    port = free_port()
    server = spawn(port)
    wait_for_answer(port, subject.api.ready, server)
    _register(port)
    execute_anywhere(url, *copies_of_users(url, USERS))
    return Running(subject, server, port, url, keys=folder / "keys", spawn=spawn)


def _register(port: int) -> None:
    body = json.dumps({"email": "user0@example.com", "password": PASSWORD})
    headers = {"Content-Type": "application/json"}
    status, answer = request(port, "POST", "/v1/auth/register", body, headers)
    if status != 201:
        raise DidNotWork(f"keyturn: registering answered {status}: {answer[:300]!r}")


def copies_of_users(url: str, count: int, *, first: int = 1) -> list[str]:
    """Return statements that make users `first` to `count` - 1 as copies of one who registered."""
    if url.startswith("sqlite:"):
        numbers = (
            f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL "
            f"SELECT i + 1 FROM n WHERE i < {count - 1})"
        )
        values = {"id": "lower(hex(randomblob(16)))"}
        series = "n"
    else:
        numbers = ""
        values = {"id": "gen_random_uuid()"}
        series = f"generate_series({first}, {count - 1}) AS n(i)"
    email = "'user' || i || '@example.com'"
    values |= {"email": email, "email_key": email}
    columns = columns_of(url, "users")
    copied = ", ".join(values.get(column, f"u.{column}") for column in columns)
    users = (
        f"INSERT INTO users ({', '.join(columns)}) {numbers} "
        f"SELECT {copied} FROM (SELECT * FROM users LIMIT 1) u, {series}"
    )
    roles = (
        "INSERT INTO user_roles (user_id, role) SELECT u.id, r.role FROM users u, "
        "(SELECT role FROM user_roles LIMIT 1) r "
        "WHERE NOT EXISTS (SELECT 1 FROM user_roles h WHERE h.user_id = u.id)"
    )
    return [users, roles]


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
    now = int(time.time())

    def claims(_: int) -> dict[str, object]:
        return {
            "iss": ISSUER,
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

    return _signed(running, "at+jwt", [claims(number) for number in range(count)])


def stored_chains(running: Running, connections: int, each: int) -> list[list[str]]:
    """Return the refresh tokens of sessions that were put into the database by hand."""
    assert running.database_url is not None
    rows = execute(
        running.database_url,
        "SELECT id, user_id, current_jti FROM refresh_tokens "
        f"ORDER BY random() LIMIT {connections * each}",
    )
    now = int(time.time())
    claims: list[dict[str, object]] = [
        {
            "iss": ISSUER,
            "aud": ISSUER,
            "sub": str(user),
            "iat": now,
            "exp": now + 7 * 86400,
            "jti": str(token),
            "sid": str(family),
            "type": "refresh",
        }
        for family, user, token in rows
    ]
    tokens = _signed(running, "rt+jwt", claims)
    return [tokens[number::connections] for number in range(connections)]


def _signed(running: Running, typ: str, claims: Sequence[dict[str, object]]) -> list[str]:
    assert running.keys is not None
    [file] = running.keys.glob("*.jwk")
    jwk = json.loads(file.read_text())
    key = jwt.PyJWK(jwk)
    algorithm = {"oct": "HS256", "RSA": "RS256", "OKP": "EdDSA"}[jwk["kty"]]
    headers = {"kid": jwk["kid"], "typ": typ}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        sign = functools.partial(jwt.encode, key=key.key, algorithm=algorithm, headers=headers)
        return list(threads.map(sign, claims))


def with_families(count: int) -> Callable[[Stage, Subject], Running]:
    """Return what starts keyturn and fills its database with copies of one session."""

    def start(stage: Stage, subject: Subject) -> Running:
        running = keyturn()(stage, subject)
        url = running.database_url
        assert url is not None
        running.log_in(0)
        users = count // SESSIONS_EACH
        copied = {
            "id": "gen_random_uuid()",
            "user_id": "u.id",
            "current_jti": "gen_random_uuid()",
        }
        columns = columns_of(url, "refresh_tokens")
        values = ", ".join(copied.get(column, f"f.{column}") for column in columns)
        execute(
            url,
            *copies_of_users(url, users, first=USERS),
            f"INSERT INTO refresh_tokens ({', '.join(columns)}) SELECT {values} "
            "FROM (SELECT * FROM refresh_tokens LIMIT 1) f, "
            f"(SELECT id FROM users LIMIT {users}) u, generate_series(1, {SESSIONS_EACH})",
            "VACUUM ANALYZE",
            "CHECKPOINT",
        )
        running.chains = stored_chains(running, 16, 100)
        return running

    return start


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
    is_counted: bool = False,
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
        file = None
        if is_counted:
            assert url is not None
            url, file = counted(stage, subject.name, url)
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
        running = Running(subject, None, port, url, counted=file)
        if prepare is not None:
            said = _prepare([str(installed.executable), prepare], settings, installed.folder)
            made = json.loads(said) if said.strip() else {}
            running.access_tokens = made.get("access_tokens", [])
            running.chains = [[token] for token in made.get("refresh_tokens", [])]

        def spawn(port: int) -> Server:
            return stage.start(
                subject.name,
                command(installed, port),
                environment={**settings, **installed.environment, "BENCH_PORT": str(port)},
                folder=installed.folder,
            )

        running.spawn = spawn
        running.server = spawn(port)
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
            "keyturn-10k",
            "keyturn, 10,000 sessions",
            KEYTURN_API,
            with_families(10_000),
            "keyturn",
        ),
        Subject(
            "keyturn-1m",
            "keyturn, 1,000,000 sessions",
            KEYTURN_API,
            with_families(1_000_000),
            "keyturn",
        ),
        Subject(
            "keyturn-1-worker",
            "keyturn, one worker",
            KEYTURN_API,
            keyturn(),
            "keyturn",
        ),
        Subject(
            "keyturn-2-workers",
            "keyturn, two workers",
            KEYTURN_API,
            keyturn(workers=2),
            "keyturn",
        ),
        Subject(
            "argon2",
            "Argon2 alone",
            Api(ready="/"),
            lambda _, subject: Running(subject),
            "limit",
        ),
        Subject(
            "bare",
            "a bare FastAPI + SQLAlchemy app",
            Api(ready="/ready"),
            peer("limits", uvicorn("bare:app"), prepare=None),
            "limit",
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
            "prototype-bare",
            "hand-written, no framework at all",
            Api(ready="/refresh", refresh="/refresh"),
            peer("prototype", uvicorn("bare:app")),
            "limit",
        ),
        Subject(
            "prototype-counted",
            "hand-written, its round trips counted",
            Api(ready="/refresh", refresh="/refresh"),
            peer("prototype", uvicorn("postgres:app"), is_counted=True),
            "limit",
        ),
        Subject(
            "keyturn-counted",
            "keyturn, its round trips counted",
            KEYTURN_API,
            keyturn(is_counted=True),
            "keyturn",
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
