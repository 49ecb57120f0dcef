"""An attacker wants a service on the Internet to run with what is meant for a developer's machine.

And a local user wants to choose the settings of a service that another user starts.
"""

import logging
import os
import re
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route
from tests.delivery.http.conftest import connect, enter, no_keys, root, services  # noqa: F401

from keyturn.adapters.sqlalchemy.migrations import migrate
from keyturn.delivery.cli import commands
from keyturn.delivery.http import CurrentPrincipal
from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.routes_keys import PublishedKeys
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.main import CommandLineOperations, create_app, create_worker_app, mount
from keyturn.setting_types import Risk
from keyturn.settings import Settings, SettingsError, load_settings
from keyturn.testing.in_memory import InMemoryKeyturn

ISSUER = "https://auth.example.com"
SAFE: dict[str, object] = {
    "issuer": ISSUER,
    "mail": "smtp",
    "smtp_host": "mx.example.com",
    "mail_from": "a@example.com",
}
"""Choices that no risk has to be accepted for."""

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - as in a container
PERSON = {"email": "ada@example.com", "password": "a passphrase of my own"}
Serve = Callable[..., AbstractContextManager[str]]
Connect = Callable[..., httpx.AsyncClient]


class Ended(NamedTuple):
    """How a command ended, and what it wrote."""

    code: object
    out: str
    err: str


Run = Callable[..., Ended]


class Risky(NamedTuple):
    """A choice, the setting that must be named, and the name that accepts it."""

    chosen: dict[str, object]
    setting: str
    risk: str


PLAIN = {"issuer": "http://auth.example.com", "secure_cookies": False}
ALL_PLAIN = "plain-issuer,insecure-cookies,plain-links"
RISKY = [
    Risky({"mail": "console"}, "MAIL", "console-mail"),
    Risky({"smtp_tls": "none"}, "SMTP_TLS", "plain-smtp"),
    Risky(
        {"verify_email_url": "http://app.example.com/#{token}"},
        "VERIFY_EMAIL_URL",
        "plain-links",
    ),
    Risky(
        {"reset_password_url": "HTTP://app.example.com/#{token}"},
        "RESET_PASSWORD_URL",
        "plain-links",
    ),
    Risky(PLAIN, "VERIFY_EMAIL_URL", "plain-links"),
    Risky(PLAIN, "RESET_PASSWORD_URL", "plain-links"),
    Risky(PLAIN, "ISSUER", "plain-issuer"),
    Risky(PLAIN, "SECURE_COOKIES", "insecure-cookies"),
    Risky({"trusted_proxies": ("10.0.0.0/8", "64.0.0.0/7")}, "TRUSTED_PROXIES", "wide-proxies"),
    Risky({"trusted_proxies": ("0.0.0.0/0",)}, "TRUSTED_PROXIES", "wide-proxies"),
    Risky({"trusted_proxies": ("2000::/15",)}, "TRUSTED_PROXIES", "wide-proxies"),
    Risky({"trusted_proxies": ("::ffff:0:0/96",)}, "TRUSTED_PROXIES", "wide-proxies"),
    Risky({"access_ttl": 3601}, "ACCESS_TTL", "long-access-ttl"),
    Risky(
        {"refresh_idle_ttl": 30 * 86400 + 1, "refresh_absolute_ttl": 31 * 86400},
        "REFRESH_IDLE_TTL",
        "long-idle-ttl",
    ),
    Risky({"refresh_absolute_ttl": 180 * 86400 + 1}, "REFRESH_ABSOLUTE_TTL", "long-absolute-ttl"),
]


@pytest.fixture(autouse=True)
def empty_folder(environment: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting, an empty working directory, and nothing left of what `serve` sets."""
    before = os.environ.copy()
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


@pytest.fixture
def keyturn_command(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Carries out a command in this process."""

    def run(*arguments: str) -> Ended:
        environment.setattr(sys, "argv", ["keyturn", *arguments])
        with pytest.raises(SystemExit) as end:
            commands.run(CommandLineOperations())
        return Ended(end.value.code, *capsys.readouterr())

    return run


def chosen(**choices: object) -> Settings:
    cheapest = {"argon2_time_cost": 5, "argon2_memory_kib": 7168, "argon2_parallelism": 1}
    return Settings.model_validate({**SAFE, **cheapest, **choices})


def refusals(settings: Settings) -> list[str]:
    """One line for each choice that stops the start."""
    with pytest.raises(SettingsError) as caught:
        settings.require_accepted_risks()
    return str(caught.value).splitlines()


# Every risk, on every way to start.


@pytest.mark.parametrize("risky", RISKY, ids=str)
def test_an_attacker_finds_no_service_that_took_a_risk_by_default(risky: Risky) -> None:
    settings = chosen(**risky.chosen)
    [problem] = [line for line in refusals(settings) if risky.setting in line.partition(": ")[0]]
    assert problem.startswith("KEYTURN_")
    assert problem.endswith(f"; KEYTURN_ACCEPT_RISKS={risky.risk} accepts it")
    with pytest.raises(SettingsError, match=f"KEYTURN_{risky.setting}[:,].*={risky.risk} "):
        create_app(settings)
    mounted = {"issuer": f"{settings.issuer}/auth"}
    with pytest.raises(SettingsError, match=f"KEYTURN_{risky.setting}[:,].*={risky.risk} "):
        mount(FastAPI(), chosen(**(risky.chosen | mounted)))
    assert not Path("data").exists()


@pytest.mark.parametrize("risky", RISKY, ids=str)
def test_every_risk_is_accepted_by_its_name_alone(risky: Risky) -> None:
    others = [risk for risk in Risk if risk != risky.risk]
    with pytest.raises(SettingsError, match=f"KEYTURN_ACCEPT_RISKS={risky.risk} "):
        chosen(**risky.chosen, accept_risks=others).require_accepted_risks()
    plain = ALL_PLAIN if "issuer" in risky.chosen else ""
    accepted = f"{risky.risk},{plain}"
    chosen(**risky.chosen, accept_risks=accepted).require_accepted_risks()


def test_every_risk_is_among_those_that_were_tried() -> None:
    assert {risky.risk for risky in RISKY} == set(Risk)


def test_a_mounted_service_is_judged_by_its_issuer(tmp_path: Path) -> None:
    for path, issuer in (("/auth", "https://example.com/auth"), ("/id", "https://a.example/id")):
        with pytest.raises(SettingsError, match="KEYTURN_MAIL: console"):
            mount(FastAPI(), chosen(issuer=issuer, mail="console"), path)
    assert list(tmp_path.iterdir()) == []
    mount(FastAPI(), Settings.model_validate({"data_dir": tmp_path / "data"}))
    mount(FastAPI(), chosen(issuer="https://example.com/auth", data_dir=tmp_path / "other"))


def test_a_worker_does_not_start_with_what_has_changed_since_the_check(
    environment: pytest.MonkeyPatch,
) -> None:
    create_worker_app()
    environment.setenv("KEYTURN_BIND_HOST", "10.0.0.7")
    with pytest.raises(SettingsError, match="KEYTURN_MAIL: console"):
        create_worker_app()
    environment.setenv("KEYTURN_BIND_HOST", "127.0.0.1")
    environment.setenv("KEYTURN_ISSUER", ISSUER)
    with pytest.raises(SettingsError, match="KEYTURN_MAIL: console"):
        create_worker_app()


def test_a_container_that_listens_everywhere_is_not_on_loopback(
    keyturn_command: Run, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # What the environment says of the address does not hold: the socket decides.
    environment.setenv("KEYTURN_BIND_HOST", "127.0.0.1")
    refused = keyturn_command("serve", "--host", ANY_ADDRESS, "--port", "0")
    assert (refused.code, refused.out) == (2, "")
    named = re.findall(r"^(?:keyturn: )?(KEYTURN_\w+)[:,]", refused.err, re.MULTILINE)
    assert named == ["KEYTURN_ISSUER", "KEYTURN_MAIL", "KEYTURN_VERIFY_EMAIL_URL"]
    assert len(refused.err.splitlines()) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("issuer", "address", "is_loopback"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", True),
        ("http://localhost:8000", "::1", True),
        ("http://[::1]:8000", "127.0.0.53", True),
        ("https://localhost", None, True),
        ("http://127.0.0.1:8000", ANY_ADDRESS, False),
        ("http://127.0.0.1:8000", "::", False),
        ("http://127.0.0.1:8000", "10.0.0.7", False),
        ("http://127.0.0.1:8000", "fe80::1%eth0", False),
        ("https://127.0.0.1.example.com", "127.0.0.1", False),
        ("https://localhost.example.com", "127.0.0.1", False),
        ("https://example.localhost", "127.0.0.1", False),
        ("https://0.0.0.0", "127.0.0.1", False),
        ("https://127.1", "127.0.0.1", False),
        ("https://auth.example.com", "127.0.0.1", False),
        ("https://auth.example.com", None, False),
    ],
)
def test_only_what_never_leaves_the_machine_is_loopback(
    issuer: str, address: str | None, is_loopback: bool
) -> None:
    settings = chosen(issuer=issuer, mail="console", bind_host=address)
    assert settings.is_local is is_loopback
    assert settings.resolved_require_verified_email is not is_loopback
    assert settings.resolved_password_grant is is_loopback
    if is_loopback:
        settings.require_accepted_risks()
    else:
        assert any(line.startswith("KEYTURN_MAIL: ") for line in refusals(settings))


def test_all_risks_are_allowed_on_a_developers_machine() -> None:
    for risky in RISKY:
        local = {"issuer": "http://127.0.0.1:8000", "bind_host": "127.0.0.1"}
        chosen(**(risky.chosen | local)).require_accepted_risks()


def test_what_no_risk_is_need_not_be_accepted() -> None:
    chosen(
        trusted_proxies=("10.0.0.0/8", "::1", "2000::/16", "::ffff:10.0.0.0/104"),
        access_ttl=3600,
        refresh_idle_ttl=30 * 86400,
        refresh_absolute_ttl=180 * 86400,
        bind_host=ANY_ADDRESS,
    ).require_accepted_risks()


@pytest.mark.parametrize(
    ("setting", "value", "limit"),
    [
        ("access_ttl", 3601, "1h"),
        ("refresh_idle_ttl", 30 * 86400 + 1, "30d"),
        ("refresh_absolute_ttl", 180 * 86400 + 1, "180d"),
    ],
)
def test_a_lifetime_that_helps_a_thief_is_refused_with_the_longest_allowed(
    setting: str, value: int, limit: str
) -> None:
    lifetimes = {"refresh_absolute_ttl": 40 * 86400} | {setting: value}
    [line] = refusals(chosen(**lifetimes))
    assert line.startswith(f"KEYTURN_{setting.upper()}: ")
    assert f"set at most {limit};" in line


@pytest.mark.parametrize(
    ("network", "wide"),
    [
        ("0.0.0.0/7", True),
        ("10.0.0.0/8", False),
        ("::/15", True),
        ("2000::/16", False),
        ("::/0", True),
        # Holds ::ffff:0:0/96, which stands for every IPv4 address.
        ("::/16", True),
        ("::/64", True),
        ("::fffe:0:0/95", True),
        ("::/97", False),
        ("::ffff:0.0.0.0/103", True),
        ("::ffff:0.0.0.0/104", False),
        ("203.0.113.7", False),
        ("2001:db8::7", False),
    ],
)
def test_a_network_that_strangers_are_in_is_wide(network: str, wide: bool) -> None:
    assert (Risk.WIDE_PROXIES in chosen(trusted_proxies=(network,)).risks()) is wide


def test_mail_to_a_relay_on_the_machine_needs_no_encryption() -> None:
    assert chosen(smtp_tls="none", smtp_host="localhost").risks() == {}
    assert set(chosen(smtp_tls="none", smtp_host="localhost.example.com").risks()) == {
        Risk.PLAIN_SMTP
    }


def test_a_name_that_nobody_knows_accepts_nothing(environment: pytest.MonkeyPatch) -> None:
    for text in ("all", "*", "console_mail", "Console-Mail", "console-mail plain-smtp"):
        environment.setenv("KEYTURN_ACCEPT_RISKS", text)
        with pytest.raises(SettingsError) as caught:
            load_settings()
        assert str(caught.value).startswith("KEYTURN_ACCEPT_RISKS: must be some of: ")
        assert all(risk in str(caught.value) for risk in Risk)


def test_an_accepted_risk_is_logged_at_each_start(caplog: pytest.LogCaptureFixture) -> None:
    accepted = "console-mail,long-access-ttl,plain-smtp"
    settings = chosen(mail="console", access_ttl=7200, accept_risks=accepted)
    for _ in range(2):
        with caplog.at_level(logging.WARNING, logger="keyturn"):
            create_app(settings)
        lines = [record.getMessage() for record in caplog.records]
        # The logger that KEYTURN_LOG_LEVEL does not silence.
        assert {record.name for record in caplog.records} == {"keyturn.risks"}
        said = "is accepted by KEYTURN_ACCEPT_RISKS: KEYTURN_"
        assert [line.rpartition(": ")[0] for line in lines] == [
            f"the risk console-mail {said}MAIL",
            f"the risk long-access-ttl {said}ACCESS_TTL",
        ]
        caplog.clear()


def test_commands_that_serve_nothing_work_without_the_settings_of_the_service(
    keyturn_command: Run, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KEYTURN_ISSUER", ISSUER)
    for command in ("migrate", "config", "openapi"):
        assert keyturn_command(command).code == 0
    assert keyturn_command("users", "list").code == 0
    assert keyturn_command("serve", "--port", "0").code == 2


# What is derived.


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stranger_gains_no_development_default_from_any_worker(
    workers: str, serving: Serve, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("KEYTURN_ACCEPT_RISKS", "console-mail,plain-issuer,plain-links")
    environment.setenv("KEYTURN_LOG_FORMAT", "json")
    with serving("--host", ANY_ADDRESS, "--workers", workers) as banner:
        assert "A login needs a verified address (KEYTURN_REQUIRE_VERIFIED_EMAIL).\n" in banner
        assert "KEYTURN_PASSWORD_GRANT" not in banner
        assert "are loopback" not in banner
        address = re.search(r"keyturn is at (http://\S+)", banner)
        assert address
        with httpx.Client(base_url=address[1], timeout=60) as client:
            assert client.post("/v1/auth/register", json=PERSON).status_code == 201
        form = {"grant_type": "password", "username": PERSON["email"], "password": "x"}
        for _ in range(4):
            # A connection of its own, so that every worker gets to answer some.
            with httpx.Client(base_url=address[1], timeout=60) as client:
                refused = client.post("/oauth/token", data=form).json()
                assert refused["error"] == "unsupported_grant_type"
                login = client.post("/v1/auth/login", json=PERSON)
                assert login.json()["code"] == "invalid_credentials"
    log = (tmp_path / "stderr.txt").read_text()
    accepted = re.findall(r"the risk ([a-z-]+) is accepted", log)
    assert accepted == ["plain-issuer", "console-mail", "plain-links"]


def test_serve_says_what_holds_on_loopback(serving: Serve) -> None:
    with serving() as banner:
        first = banner.strip().splitlines()[:4]
        assert httpx.get(f"{first[0].split()[-1]}/health/live", timeout=60).is_success
    assert first[0].startswith("keyturn is at ")
    assert first[1:] == [
        "This is development: issuer and bind address are loopback.",
        "A login needs no verified address (KEYTURN_REQUIRE_VERIFIED_EMAIL).",
        "/oauth/token takes passwords (KEYTURN_PASSWORD_GRANT).",
    ]


async def test_a_stranger_does_not_learn_by_logging_in_whether_an_address_was_free(
    tmp_path: Path,
) -> None:
    settings = chosen(data_dir=tmp_path / "data")
    app = create_app(settings)
    await migrate(settings.used_database_url)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=ISSUER) as client,
    ):
        answers = []
        for password in ("a passphrase of my own", "another passphrase of mine"):
            person = PERSON | {"password": password}
            assert (await client.post("/v1/auth/register", json=person)).status_code == 201
            answers.append(await client.post("/v1/auth/login", json=person))
    told = [answer.json() | {"request_id": None} for answer in answers]
    assert told[0] == told[1]
    assert {answer.status_code for answer in answers} == {401}


@pytest.mark.parametrize("grant", [True, False])
def test_what_an_operator_says_wins_over_what_is_derived(grant: bool) -> None:
    for issuer in (ISSUER, "http://127.0.0.1:8000"):
        settings = chosen(issuer=issuer, password_grant=grant, require_verified_email=not grant)
        assert settings.resolved_password_grant is grant
        assert settings.resolved_require_verified_email is not grant
        assert settings.login_policy().requires_verified_email is not grant


async def test_the_page_asks_for_no_password_where_the_grant_is_off(connect: Connect) -> None:  # noqa: F811
    for grant in (True, False):
        options = HttpOptions(password_grant=grant, issuer="https://example.com/auth")
        document = (await connect(options=options).get("/openapi.json")).json()
        scheme = document["components"]["securitySchemes"]["AccessToken"]
        if grant:
            assert scheme["type"] == "oauth2"
            assert scheme["flows"]["password"]["tokenUrl"] == "/auth/oauth/token"
        else:
            assert scheme == {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


async def test_a_host_says_the_same_of_a_service_without_the_grant(tmp_path: Path) -> None:
    host = FastAPI()

    @host.get("/me")
    async def me(principal: CurrentPrincipal) -> str:
        return str(principal.user_id)

    mount(host, chosen(issuer="https://example.com/auth", data_dir=tmp_path / "data"))
    for _ in range(2):
        scheme = host.openapi()["components"]["securitySchemes"]["AccessToken"]
        assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


# What the service shows of itself.


async def test_a_stranger_is_not_shown_the_interface_that_is_turned_off(connect: Connect) -> None:  # noqa: F811
    client = connect(options=HttpOptions(docs=False))
    for path in ("/docs", "/docs/", "/docs/start.js", "/docs/swagger-ui.css", "/openapi.json"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await client.get("/account/verify-email")).status_code == 200


def test_the_setting_turns_the_page_off_and_serve_does_not_name_it(
    serving: Serve, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KEYTURN_DOCS", "off")
    with serving() as banner:
        address = re.search(r"keyturn is at (http://\S+)", banner)
        assert address
        assert "/docs" not in banner
        for path in ("/docs", "/openapi.json"):
            assert httpx.get(f"{address[1]}{path}", timeout=60).status_code == 404


def test_the_interface_is_still_printed_for_the_operator(
    keyturn_command: Run, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KEYTURN_DOCS", "off")
    assert '"/v1/auth/login"' in keyturn_command("openapi").out


# Headers.

API_POLICY = "default-src 'none'; frame-ancestors 'none'"


def require_headers(answer: httpx.Response, *, https: bool = True) -> None:
    asked = f"{answer.request.method} {answer.request.url.path}: {answer.status_code}"
    told = answer.headers
    assert told.get_list("x-content-type-options") == ["nosniff"], asked
    assert told.get_list("referrer-policy") == ["no-referrer"], asked
    policies = told.get_list("content-security-policy")
    assert len(policies) == 1, asked
    assert policies[0].startswith("default-src 'none'; "), asked
    assert policies[0].endswith("frame-ancestors 'none'"), asked
    if policies != [API_POLICY]:
        assert told["content-type"].startswith("text/html"), asked
    expected = ["max-age=31536000"] if https else []
    assert told.get_list("strict-transport-security") == expected, asked
    assert told["x-request-id"], asked


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return InMemoryKeyturn()


@pytest.fixture
def guarded(
    keyturn: InMemoryKeyturn,
    services: Callable[..., Services],  # noqa: F811
    no_keys: PublishedKeys,  # noqa: F811
) -> FastAPI:
    """A service with everything that can be asked of one, at an https issuer."""
    options = HttpOptions(
        issuer=ISSUER,
        dpop=True,
        max_body_bytes=1000,
        allowed_origins=("https://app.example.com",),
        trusted_proxies=("192.0.2.7",),
    )
    return build_app(services(keyturn), options, published_keys=no_keys)


@pytest.fixture
async def asks(guarded: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is answered whatever happens, as by a server."""
    transport = httpx.ASGITransport(
        guarded, client=("192.0.2.7", 40000), raise_app_exceptions=False
    )
    async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
        yield client


async def test_no_answer_of_any_route_can_be_framed_sniffed_or_downgraded(
    guarded: FastAPI, asks: httpx.AsyncClient
) -> None:
    statuses = set()
    routes = [route for route in guarded.routes if isinstance(route, Route)]
    paths = {re.sub(r"\{\w+(:\w+)?\}", "x", route.path) for route in routes}
    assert {"/docs", "/openapi.json", "/account/verify-email", "/v1/auth/login"} <= paths
    for path in sorted(paths | {"/nowhere", "/v1/auth/login/", "/docs/start.js", "/"}):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"):
            for headers in (
                {},
                {"Authorization": "Bearer nonsense"},
                {"Origin": "https://app.example.com", "Access-Control-Request-Method": "GET"},
            ):
                answer = await asks.request(method, path, headers=headers)
                require_headers(answer)
                statuses.add(answer.status_code)
    assert {200, 400, 401, 404, 405, 422} <= statuses


async def test_no_kind_of_error_comes_without_the_headers(
    guarded: FastAPI, asks: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    json = {"Content-Type": "application/json"}
    login = "/v1/auth/login"
    foreign = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    form = {"grant_type": "authorization_code"}

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 500

    answers = {
        "malformed JSON": (await asks.post(login, content="{", headers=json), 400),
        "a body that is announced too large": (await asks.post(login, content="x" * 1001), 413),
        "a body that becomes too large": (
            await asks.post(login, content=endless(), headers=json),
            413,
        ),
        "no JSON": (await asks.post(login, content="x"), 415),
        "fields": (await asks.post(login, json={}), 422),
        "wrong password": (await asks.post(login, json=PERSON), 401),
        "no token": (await asks.get("/v1/auth/verify"), 401),
        "OAuth": (await asks.post("/oauth/token", data=form), 400),
        "CORS": (await asks.options(login, headers=foreign), 400),
        "a strange address": (
            await asks.get("/health/live", headers={b"X-Forwarded-For": b"\x80,unknown"}),
            200,
        ),
        "metadata": (await asks.get("/.well-known/oauth-authorization-server"), 200),
        "keys": (await asks.get("/.well-known/jwks.json"), 200),
    }

    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyturn.login_user, "execute", fails)
        answers["an unexpected error"] = (await asks.post(login, json=PERSON), 500)
    for kind, (answer, status) in answers.items():
        assert answer.status_code == status, kind
        require_headers(answer)


async def test_the_answers_to_the_routes_that_are_asked_most_have_them_too(
    asks: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register(PERSON["email"])
    pair = await keyturn.login(PERSON["email"])
    bearer = {"Authorization": f"Bearer {pair.access_token.reveal()}"}
    refreshed = await asks.post(
        "/v1/auth/refresh", json={"refresh_token": pair.refresh_token.reveal()}
    )
    for answer, status in (
        (await asks.get("/v1/auth/verify", headers=bearer), 204),
        (await asks.get("/v1/users/me", headers=bearer), 200),
        (refreshed, 200),
    ):
        assert answer.status_code == status
        require_headers(answer)


async def test_a_browser_is_not_held_to_https_that_is_not_there(connect: Connect) -> None:  # noqa: F811
    client = connect(options=HttpOptions(issuer="http://127.0.0.1:8000"))
    for path in ("/health/live", "/docs", "/nowhere"):
        require_headers(await client.get(path), https=False)


async def test_a_mounted_service_sends_them_and_leaves_its_host_alone(tmp_path: Path) -> None:
    host = FastAPI()

    @host.get("/")
    async def home() -> str:
        return "mine"

    mount(host, chosen(issuer="https://example.com/auth", data_dir=tmp_path / "data"))
    transport = httpx.ASGITransport(host)
    async with httpx.AsyncClient(transport=transport, base_url="https://example.com") as client:
        for path in ("/auth/health/live", "/auth/nowhere", "/auth/docs", "/auth/account/x"):
            require_headers(await client.get(path))
        metadata = await client.get("/.well-known/oauth-authorization-server/auth")
        assert metadata.status_code == 200
        for name in ("strict-transport-security", "content-security-policy", "referrer-policy"):
            assert name in metadata.headers
            assert name not in (await client.get("/")).headers


# The file `.env`.


def give_away(path: Path, patch: pytest.MonkeyPatch) -> None:
    """Let another user own a file: really where the tests run as root, else by renaming us."""
    owner = os.lstat(path).st_uid
    if os.geteuid() == 0:
        os.chown(path, 12345, -1, follow_symlinks=False)
    else:
        patch.setattr(os, "geteuid", lambda: owner + 1)


def stopped() -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(".env: ")
    assert "\n" not in message
    # No start at all: nobody goes on without the file, whichever way the settings are made.
    with pytest.raises(SettingsError):
        Settings()
    return message


@pytest.fixture
def env() -> Path:
    file = Path(".env")
    file.write_text("KEYTURN_AUDIENCE=mine\n")
    file.chmod(0o600)
    return file


def test_the_owners_file_is_read(env: Path) -> None:
    assert load_settings().audience == "mine"
    env.chmod(0o644)
    assert load_settings().audience == "mine"


def test_a_local_user_can_not_leave_a_file_of_their_own(
    env: Path, environment: pytest.MonkeyPatch
) -> None:
    give_away(env, environment)
    assert "belongs to another user" in stopped()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o622])
def test_a_local_user_can_not_write_into_the_file(mode: int, env: Path) -> None:
    env.chmod(mode)
    assert "others may write it; run chmod go-w .env" in stopped()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o703])
def test_a_local_user_can_not_replace_the_file_in_its_folder(
    mode: int, env: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(mode)
    try:
        assert "others may replace it" in stopped()
        env.unlink()
        assert load_settings().audience == "keyturn"
    finally:
        tmp_path.chmod(0o700)


def test_a_local_user_can_not_own_the_folder(
    env: Path, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away and keep the file")
    owner = tmp_path.stat().st_uid
    give_away(tmp_path, environment)
    try:
        assert "its folder belongs to another user" in stopped()
    finally:
        os.chown(tmp_path, owner, -1)


def test_a_folder_where_only_owners_replace_files_will_do(env: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777 | stat.S_ISVTX)
    try:
        assert load_settings().audience == "mine"
    finally:
        tmp_path.chmod(0o700)


def test_a_local_user_can_not_lay_a_link_to_a_file_of_ours(
    env: Path, environment: pytest.MonkeyPatch
) -> None:
    env.rename("other")
    env.symlink_to("other")
    assert load_settings().audience == "mine"
    give_away(env, environment)
    assert "belongs to another user" in stopped()


def test_a_link_of_ours_to_a_file_of_a_local_user_does_not_help(
    env: Path, environment: pytest.MonkeyPatch
) -> None:
    env.rename("other")
    env.symlink_to("other")
    give_away(Path("other"), environment)
    assert "belongs to another user" in stopped()


def test_nobody_makes_the_start_skip_the_file(env: Path) -> None:
    def directory() -> None:
        env.mkdir()

    def dangling_link() -> None:
        env.symlink_to("nowhere")

    def link_to_itself() -> None:
        env.symlink_to(".env")

    def pipe() -> None:
        os.mkfifo(env)

    def device() -> None:
        env.symlink_to("/dev/null")

    for make, problem in (
        (directory, "is no regular file"),
        (dangling_link, "is a link that leads nowhere"),
        (link_to_itself, "can't be read"),
        (pipe, "is no regular file"),
        (device, "is no regular file"),
    ):
        if env.is_dir():
            env.rmdir()
        else:
            env.unlink()
        make()
        assert problem in stopped()


def test_a_file_that_can_not_be_opened_stops_the_start(
    env: Path, environment: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError(13, "Permission denied")

    environment.setattr(os, "open", refuse)
    assert "can't be read: Permission denied" in stopped()


def test_a_file_that_never_ends_stops_the_start(env: Path) -> None:
    env.write_text("#" * (1024 * 1024 + 1))
    assert "is larger than" in stopped()


def test_a_file_that_is_exchanged_after_the_check_is_not_the_one_that_is_read(
    env: Path, environment: pytest.MonkeyPatch
) -> None:
    other = Path("other")
    other.write_text("KEYTURN_AUDIENCE=of-the-attacker\n")
    of_the_system = os.fstat

    def exchange(descriptor: int) -> os.stat_result:
        found = of_the_system(descriptor)
        if other.exists():
            other.replace(env)
        return found

    environment.setattr(os, "fstat", exchange)
    assert load_settings().audience == "mine"


def test_a_file_that_is_there_only_while_it_is_opened_is_the_one_that_is_checked(
    env: Path, environment: pytest.MonkeyPatch
) -> None:
    other = Path("other")
    other.write_text("KEYTURN_AUDIENCE=of-the-attacker\n")
    other.chmod(0o666)
    of_the_system = os.open

    def open_other(path: str | Path, flags: int, *rest: int) -> int:
        return of_the_system(other if Path(path) == env else path, flags, *rest)

    environment.setattr(os, "open", open_other)
    assert "others may write it" in stopped()


def test_every_command_stops_at_such_a_file_with_one_line(keyturn_command: Run, env: Path) -> None:
    env.chmod(0o666)
    for command in ("serve", "migrate", "config", "doctor", "openapi"):
        refused = keyturn_command(command)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith("keyturn: .env: others may write it; run")
        assert len(refused.err.splitlines()) == 1
