"""An attacker finds a service in production that runs with the choices of development."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from tests.conftest import SOURCE
from tests.delivery.http.conftest import connect, no_keys, services  # noqa: F401 - fixtures

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.main import create_app, mount
from keyturn.setting_types import Risk
from keyturn.settings import Settings, SettingsError, describe_settings, load_settings
from keyturn.testing.in_memory import InMemoryKeyturn

PUBLIC: dict[str, object] = {"issuer": "https://auth.example.com"}
MAIL: dict[str, object] = {
    "mail": "smtp",
    "smtp_host": "mail.example.com",
    "mail_from": "a@example.com",
}
SAFE = PUBLIC | MAIL
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - the point of these tests

RISKY: list[tuple[Risk, str, dict[str, object]]] = [
    (Risk.CONSOLE_MAIL, "KEYTURN_MAIL", PUBLIC),
    (Risk.PLAIN_SMTP, "KEYTURN_SMTP_TLS", SAFE | {"smtp_tls": "none"}),
    (
        Risk.PLAIN_LINKS,
        "KEYTURN_VERIFY_EMAIL_URL",
        SAFE | {"verify_email_url": "http://app.example.com/#{token}"},
    ),
    (Risk.WIDE_PROXIES, "KEYTURN_TRUSTED_PROXIES", SAFE | {"trusted_proxies": ("0.0.0.0/0",)}),
    (Risk.WIDE_PROXIES, "KEYTURN_TRUSTED_PROXIES", SAFE | {"trusted_proxies": ("10.0.0.0/7",)}),
    (Risk.WIDE_PROXIES, "KEYTURN_TRUSTED_PROXIES", SAFE | {"trusted_proxies": ("2000::/15",)}),
    (
        Risk.INSECURE_COOKIES,
        "KEYTURN_SECURE_COOKIES",
        MAIL | {"issuer": "http://auth.example.com", "secure_cookies": False},
    ),
    (
        Risk.PLAIN_ISSUER,
        "KEYTURN_ISSUER",
        MAIL | {"issuer": "http://auth.example.com", "secure_cookies": False},
    ),
    (Risk.LONG_ACCESS_TTL, "KEYTURN_ACCESS_TTL", SAFE | {"access_ttl": "61m"}),
    (Risk.LONG_IDLE_TTL, "KEYTURN_REFRESH_IDLE_TTL", SAFE | {"refresh_idle_ttl": "31d",
      "refresh_absolute_ttl": "31d"}),
    (Risk.LONG_ABSOLUTE_TTL, "KEYTURN_REFRESH_ABSOLUTE_TTL",
      SAFE | {"refresh_absolute_ttl": "181d"}),
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory without a `.env`, and no setting."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return InMemoryKeyturn()


def settings(**chosen: object) -> Settings:
    return Settings.model_validate({"data_dir": Path("data"), **chosen})


def test_every_risk_is_tried() -> None:
    assert {risk for risk, _, _ in RISKY} == set(Risk)


@pytest.mark.parametrize(("risk", "name", "chosen"), RISKY)
def test_an_attacker_finds_no_service_with_a_choice_of_development(
    risk: Risk, name: str, chosen: dict[str, object]
) -> None:
    for start in (create_app, lambda s: mount(FastAPI(), s, "/auth")):
        mounted = start is not create_app
        here = chosen | ({"issuer": f"{chosen['issuer']}/auth"} if mounted else {})
        with pytest.raises(SettingsError) as refused:
            start(settings(**here))
        [line] = [each for each in str(refused.value).splitlines() if f"={risk} " in each]
        assert line.startswith(name)
        assert f"KEYTURN_ACCEPT_RISKS={risk}" in line
        every = tuple(str(each) for each in settings(**here).risks())
        start(settings(**here, accept_risks=every))
    assert not Path("data").exists() or risk  # nothing but a folder is left of a refused start


@pytest.mark.parametrize(("risk", "name", "chosen"), RISKY)
def test_a_service_on_loopback_takes_any_choice(
    risk: Risk, name: str, chosen: dict[str, object]
) -> None:
    local = chosen | {"issuer": "http://127.0.0.1:8000"}
    assert settings(**local).risks() == {}
    assert settings(**local, bind_host="::1").risks() == {}
    # An address that others reach makes it a service for others.
    assert risk in settings(**local, bind_host=ANY_ADDRESS).risks() or risk is Risk.INSECURE_COOKIES


def test_limits_themselves_are_no_risk() -> None:
    chosen = SAFE | {
        "access_ttl": "1h",
        "refresh_idle_ttl": "30d",
        "refresh_absolute_ttl": "180d",
        "trusted_proxies": ("10.0.0.0/8", "2001::/16", "192.0.2.7"),
    }
    assert settings(**chosen).risks() == {}
    relay = SAFE | {"smtp_host": "127.0.0.1", "smtp_tls": "none"}
    assert settings(**relay).risks() == {}


def test_an_unknown_risk_stops_the_start_with_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTURN_ACCEPT_RISKS", "console-mail,everything")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith("KEYTURN_ACCEPT_RISKS: must be some of: console-mail, ")


@pytest.mark.parametrize(
    ("chosen", "is_local"),
    [
        ({"issuer": "http://127.0.0.1:8000"}, True),
        ({"issuer": "http://localhost:8000"}, True),
        ({"issuer": "http://[::1]:8000"}, True),
        ({"issuer": "http://127.0.0.1:8000", "bind_host": "127.0.0.1"}, True),
        ({"issuer": "http://127.0.0.1:8000", "bind_host": ANY_ADDRESS}, False),
        ({"issuer": "http://127.0.0.1:8000", "bind_host": "::"}, False),
        ({"issuer": "https://auth.example.com"}, False),
        ({"issuer": "https://auth.example.com", "bind_host": "127.0.0.1"}, False),
        ({"issuer": "https://localhost.example.com"}, False),
    ],
)
def test_an_attacker_finds_no_development_default_outside_of_loopback(
    chosen: dict[str, object], is_local: bool
) -> None:
    found = settings(**chosen)
    assert found.login_policy().requires_verified_email is not is_local
    assert found.resolved_password_grant is is_local
    for value in (True, False):
        said = settings(**chosen, require_verified_email=value, password_grant=value)
        assert said.login_policy().requires_verified_email is value
        assert said.resolved_password_grant is value
    derived = {line.name: line.value for line in describe_settings(found)
               if line.source == "derived"}  # fmt: skip
    assert derived["KEYTURN_PASSWORD_GRANT"] == str(is_local).lower()
    assert derived["KEYTURN_REQUIRE_VERIFIED_EMAIL"] == str(not is_local).lower()


@pytest.mark.parametrize(
    ("options", "code"), [(["--host", ANY_ADDRESS], 2), (["--host", "127.0.0.1"], 0)]
)
def test_a_service_on_every_address_is_no_development(options: list[str], code: int) -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "keyturn", "serve", "--port", "0", *options],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if code == 0:
        assert started.stdout is not None
        shown = []
        for line in started.stdout:
            shown.append(line)
            if "KEYTURN_MAIL" in line:
                break
        started.kill()
        started.communicate()
        assert any("This is development" in line for line in shown)
        assert any("KEYTURN_REQUIRE_VERIFIED_EMAIL" in line for line in shown)
        return
    _, refused = started.communicate()
    assert started.returncode == code
    assert "KEYTURN_ACCEPT_RISKS=console-mail" in refused
    assert "Traceback" not in refused


async def test_what_is_accepted_is_logged_at_each_start(caplog: pytest.LogCaptureFixture) -> None:
    chosen = settings(**PUBLIC, accept_risks=("console-mail",))
    app = await asyncio.to_thread(create_app, chosen)
    async with app.router.lifespan_context(app):
        assert "the risk console-mail is accepted" in caplog.text


# --- .env -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_an_attacker_who_may_write_the_env_file_sets_nothing(mode: int) -> None:
    Path(".env").write_text("KEYTURN_AUDIENCE=api\n")
    Path(".env").chmod(mode)
    with pytest.raises(SettingsError, match=r"^\.env: others may write it; run chmod go-w \.env$"):
        load_settings()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_an_env_file_of_ones_own_is_read(mode: int) -> None:
    Path(".env").write_text("KEYTURN_AUDIENCE=api\n")
    Path(".env").chmod(mode)
    assert load_settings().audience == "api"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_attacker_who_owns_the_env_file_sets_nothing() -> None:
    Path(".env").write_text("KEYTURN_AUDIENCE=api\n")
    os.chown(".env", 12345, 12345)
    with pytest.raises(SettingsError, match=r"^\.env: belongs to another user \(uid 12345\)"):
        load_settings()


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
def test_an_env_file_that_is_none_is_not_left_out_silently(kind: str) -> None:
    match kind:
        case "folder":
            Path(".env").mkdir()
        case "pipe":
            os.mkfifo(".env")
        case _:
            Path(".env").symlink_to("nowhere")
    with pytest.raises(SettingsError, match=r"^\.env: "):
        load_settings()


# --- responses ------------------------------------------------------------------------------------

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
}


async def test_an_attacker_finds_no_response_without_the_security_headers(
    connect: Callable[..., httpx.AsyncClient],  # noqa: F811 - the imported fixture
    services: Callable[..., Services],  # noqa: F811 - the imported fixture
) -> None:
    options = HttpOptions(issuer="https://auth.example.com")
    app = build_app(services(InMemoryKeyturn()), options)
    client = connect(app=app)
    paths = [route.path for route in app.routes if hasattr(route, "path")]
    assert len(paths) > 30
    seen = set()
    for path in [*paths, "/", "/nothing", "/docs/start.js", "/account/assets/account.js", "/%ff"]:
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            answer = await client.request(method, path, content=b"{")
            seen.add(answer.status_code)
            for name, value in EVERYWHERE.items():
                assert answer.headers.get_list(name) == [value], (method, path)
            [policy] = answer.headers.get_list("content-security-policy")
            assert policy.startswith("default-src 'none'; ")
            assert "frame-ancestors 'none'" in policy
            assert answer.headers.get_list("cache-control")
    assert seen >= {200, 401, 404, 405, 415}
    large = await client.post("/v1/auth/login", content=b"x" * 70_000)
    assert large.status_code == 413
    assert large.headers["referrer-policy"] == "no-referrer"
    plain = connect(app=build_app(services(InMemoryKeyturn()), HttpOptions()))
    assert "strict-transport-security" not in (await plain.get("/health/live")).headers


async def test_an_attacker_reads_no_description_of_a_service_that_hides_it(
    connect: Callable[..., httpx.AsyncClient],  # noqa: F811 - the imported fixture
) -> None:
    hidden = connect(options=HttpOptions(docs=False))
    for path in ("/docs", "/docs/start.js", "/openapi.json"):
        answer = await hidden.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    # The pages that mails lead to stay.
    assert (await hidden.get("/account/verify-email")).status_code == 200


async def test_a_person_brings_a_token_where_the_password_grant_is_off(
    connect: Callable[..., httpx.AsyncClient],  # noqa: F811 - the imported fixture
) -> None:
    schemes = {}
    for grant in (True, False):
        client = connect(options=HttpOptions(password_grant=grant))
        document = (await client.get("/openapi.json")).json()
        schemes[grant] = document["components"]["securitySchemes"]["AccessToken"]
    assert schemes[True]["type"] == "oauth2"
    assert schemes[False] == {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
