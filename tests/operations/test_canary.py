"""No password, token or hash is ever told: not by a log, an error, the audit trail or a figure."""

import asyncio
import dataclasses
import json
import logging
import logging.config
import re
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.migrations import migrate
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.adapters.structlog.configuration import logging_configuration
from keyturn.delivery.http.services import Services
from keyturn.main import create_app
from keyturn.settings import DEVELOPMENT_ISSUER, Settings
from keyturn.use_cases.assign_roles import AssignRolesCommand
from keyturn.use_cases.login_user import LoginUser, LoginUserCommand
from keyturn.use_cases.token_pair import TokenPair

EMAIL = "ada@example.com"
PASSWORD = "canary-password-1 \N{BIRD} of Ada"
NEW_PASSWORD = "canary-password-2 of Ada's"
WRONG_PASSWORD = "canary-password-3 of Eve"
TOKEN = "canary-token-4.of.nobody"
COOKIE = "canary-cookie-5"
QUERY = "canary-query-6"
PATH = "canary-path-7"
FIELD = "canary-field-8"
DEVICE = "canary-device-9"
CANARIES = (PASSWORD, NEW_PASSWORD, WRONG_PASSWORD, TOKEN, COOKIE, QUERY, PATH, FIELD, DEVICE)

BODY = {
    "email": EMAIL,
    "password": WRONG_PASSWORD,
    "current_password": WRONG_PASSWORD,
    "new_password": "canary-pw",
    "refresh_token": TOKEN,
    "device_token": DEVICE,
    FIELD: FIELD,
}


_END_THE_SESSION = {
    ("/v1/auth/logout", "post"),
    ("/v1/auth/logout-all", "post"),
    ("/v1/sessions", "delete"),
}


class Overheard:
    """All that a service tells where no secret belongs, and all the secrets that it was told."""

    def __init__(self, logs: StringIO) -> None:
        self._logs = logs
        self._told: list[str] = []
        self.secrets = set(CANARIES)

    async def listen(self, answer: httpx.Response) -> None:
        """Keep what an error tells, and as a secret whatever token a success hands out."""
        await answer.aread()
        if answer.is_error:
            self._told.append(f"{answer.headers!r} {answer.text}")
            return
        self.secrets.update(re.findall(r"eyJ[\w.-]{20,}", f"{answer.headers} {answer.text}"))

    def tell(self, text: str) -> None:
        self._told.append(text)

    def leaks(self) -> set[str]:
        told = "\n".join([self._logs.getvalue(), *self._told])
        forms = {form for secret in self.secrets for form in _forms(secret)}
        return {form for form in forms if form in told}

    @property
    def logs(self) -> str:
        return self._logs.getvalue()


def _forms(secret: str) -> set[str]:
    """The ways in which a secret may be written; a part of a token is a secret as well."""
    forms = {secret, quote(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    if secret.startswith("eyJ"):
        forms |= set(secret.split(".")[1:])
    return forms


@pytest.fixture(params=["json", "console"])
def overheard(request: pytest.FixtureRequest) -> Iterator[Overheard]:
    """What is logged, at the lowest level there is."""
    shape: Literal["json", "console"] = request.param
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs = StringIO()
    configuration = logging_configuration(shape, "debug")
    configuration["handlers"] = {
        "stderr": {"class": "logging.StreamHandler", "formatter": "default", "stream": logs}
    }
    logging.config.dictConfig(configuration)
    yield Overheard(logs)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("keyturn", "uvicorn"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def settings_for(folder: Path, **chosen: object) -> Settings:
    cheapest = {"argon2_time_cost": 5, "argon2_memory_kib": 7168, "argon2_parallelism": 1}
    return Settings.model_validate({"data_dir": folder} | cheapest | chosen)


def client_of(app: FastAPI, overheard: Overheard) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="https://auth.example.com",
        event_hooks={"response": [overheard.listen]},
    )


async def a_day_in_the_life(
    client: httpx.AsyncClient, make_administrator: Callable[[], Awaitable[None]]
) -> str:
    """Do what people do, right and wrong, and return an administrator's access token."""
    ada = {"email": EMAIL, "password": PASSWORD}
    for body in (ada, ada, ada | {"password": "short"}, ada | {"email": "no address"}):
        await client.post("/v1/auth/register", json=body)
    wrong = ada | {"password": WRONG_PASSWORD, "device_token": DEVICE}
    for body in (wrong, wrong | {"email": "eve@example.com"}, wrong | {"password": "\x00" + FIELD}):
        await client.post("/v1/auth/login", json=body)
    login = (await client.post("/v1/auth/login", json=ada)).json()
    old = {"refresh_token": login["refresh_token"]}
    new = (await client.post("/v1/auth/refresh", json=old)).json()
    await client.post("/v1/auth/refresh", json=old)
    await client.post("/v1/auth/refresh", json={"refresh_token": new["refresh_token"]})
    stolen = await client.post("/v1/auth/refresh", json=old)
    assert stolen.status_code == 401

    form = {"grant_type": "password", "username": EMAIL, "password": PASSWORD}
    bearer = {
        "Authorization": f"Bearer {(await client.post('/v1/auth/login', json=ada)).json()['access_token']}"
    }
    for each in (form, form | {"password": WRONG_PASSWORD}, form | {"scope": FIELD}):
        await client.post("/oauth/token", data=each)
    for current in (WRONG_PASSWORD, PASSWORD):
        await client.post(
            "/v1/users/me/password",
            headers=bearer,
            json={"current_password": current, "new_password": NEW_PASSWORD},
        )
    changed = ada | {"password": NEW_PASSWORD}
    cookie = {"X-Requested-With": "x"}
    await client.post("/v1/auth/login", json=changed | {"transport": "cookie"}, headers=cookie)
    await client.post("/v1/auth/refresh")
    await client.post("/v1/auth/refresh", headers=cookie)
    await client.post("/v1/auth/logout", headers=cookie)
    token = (await client.post("/v1/auth/login", json=changed)).json()["access_token"]
    for path in (f"/v1/auth/logout?token={QUERY}", "/v1/auth/logout-all"):
        await client.post(path, headers={"Authorization": f"Bearer {token}"})
    await make_administrator()
    # The administration accepts tokens for the issuer alone.
    for_issuer = changed | {"resource": DEVELOPMENT_ISSUER}
    last = await client.post("/v1/auth/login", json=for_issuer)
    assert last.status_code == 200, last.text
    return str(last.json()["access_token"])


async def secrets_in_every_place(
    client: httpx.AsyncClient, app: FastAPI, bearers: list[str]
) -> None:
    """Ask every route with secrets wherever a client may put one, by mistake or not."""
    paths: dict[str, dict[str, object]] = app.openapi()["paths"]
    asked = [
        (method.upper(), re.sub(r"\{.*?\}", PATH, path))
        for path, methods in paths.items()
        for method in methods
        if (path, method) not in _END_THE_SESSION
    ]
    names = ("keyturn_refresh", "__Host-keyturn_refresh", "__Host-keyturn_device")
    cookies = {"Cookie": "; ".join(f"{name}={COOKIE}" for name in names)}
    for method, path in [*asked, ("GET", f"/{PATH}"), ("PUT", "/v1/auth/login")]:
        for bearer in bearers:
            headers = cookies | {"Authorization": bearer, "X-Requested-With": "x"}
            url = f"{path}?token={QUERY}&password={QUERY}"
            await client.request(method, url, headers=headers, json=BODY)
            await client.request(method, url, headers=headers, data=BODY)
            await client.request(
                method, url, headers=headers | {"Content-Type": "application/json"}, content=FIELD
            )


def stored(folder: Path) -> tuple[str, set[str]]:
    """The audit trail as text, and the password hashes."""
    connection = sqlite3.connect(folder / "keyturn.db")
    try:
        events = connection.execute("SELECT * FROM audit_events").fetchall()
        hashes = connection.execute("SELECT password_hash FROM users").fetchall()
    finally:
        connection.close()
    return repr(events), {str(each[0]) for each in hashes}


async def test_no_secret_is_told_by_a_service_that_works(
    tmp_path: Path, overheard: Overheard
) -> None:
    settings = settings_for(tmp_path)
    app = await asyncio.to_thread(create_app, settings)
    await migrate(settings.used_database_url)
    async with app.router.lifespan_context(app), client_of(app, overheard) as client:
        services: Services = app.state.keyturn

        async def make_administrator() -> None:
            ada = await services.get_user.by_email(EMAIL)
            database = Database(settings.used_database_url)
            async with SqlUnitOfWork(database) as uow:
                # As the link in the mail does.
                uow.users.save(ada.with_verified_email(datetime.now(UTC)))
                await uow.commit()
            await database.dispose()
            roles = frozenset({"user", "admin"})
            await services.assign_roles.execute(AssignRolesCommand(ada.id, roles, actor=None))

        token = await a_day_in_the_life(client, make_administrator)
        await secrets_in_every_place(client, app, ["", f"Bearer {TOKEN}", f"Bearer {token}"])
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await client.get("/v1/admin/users", headers=bearer)).status_code == 200
        overheard.tell(app.state.keyturn_metrics.render().decode())
    events, hashes = stored(tmp_path)
    overheard.tell(events)
    overheard.secrets |= hashes
    assert "reuse_detected" in events
    assert "/v1/auth/login" in overheard.logs
    assert overheard.leaks() == set()


class ExplodingLogin(LoginUser):
    """Fails with errors that quote whatever they can get hold of."""

    def __init__(self) -> None:
        pass

    async def execute(self, command: LoginUserCommand) -> TokenPair:
        password = command.password.reveal()
        try:
            password.encode("ascii")
        except UnicodeEncodeError as error:
            raise RuntimeError(f"{command.email} has {password}") from error
        raise ExceptionGroup(password, [ValueError(password)])


@pytest.mark.parametrize("password", [PASSWORD, WRONG_PASSWORD])
async def test_no_secret_is_told_by_a_failure_that_nobody_expected(
    password: str, tmp_path: Path, overheard: Overheard
) -> None:
    app = await asyncio.to_thread(create_app, settings_for(tmp_path))
    app.state.keyturn = dataclasses.replace(app.state.keyturn, login_user=ExplodingLogin())
    async with client_of(app, overheard) as client:
        answer = await client.post(
            f"/v1/auth/login?token={QUERY}",
            json={"email": EMAIL, "password": password},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        overheard.tell(app.state.keyturn_metrics.render().decode())
    assert answer.status_code == 500
    assert "failed unexpectedly" in overheard.logs
    assert ExplodingLogin.__qualname__ not in answer.text
    assert overheard.leaks() == set()


async def test_no_secret_is_told_by_a_service_that_has_lost_its_store(
    tmp_path: Path, overheard: Overheard
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = SecretStr(f"postgresql://keyturn:{FIELD}@127.0.0.1:{port}/n")
    app = await asyncio.to_thread(create_app, settings_for(tmp_path, database_url=url))
    async with app.router.lifespan_context(app), client_of(app, overheard) as client:
        login = {"email": EMAIL, "password": PASSWORD}
        assert (await client.post("/v1/auth/login", json=login)).status_code == 503
        assert (await client.get("/health/ready")).status_code == 503
        await secrets_in_every_place(client, app, [f"Bearer {TOKEN}"])
        overheard.tell(app.state.keyturn_metrics.render().decode())
    assert "fails, and is tried again" in overheard.logs
    assert overheard.leaks() == set()
