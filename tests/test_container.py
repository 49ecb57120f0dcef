"""Everything that is wired can be had, and what is to be shared is shared."""

import asyncio
from pathlib import Path

import httpx
import pytest
from dependency_injector import providers
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import select

from keyturn.adapters.argon2.hasher import Argon2Parameters
from keyturn.adapters.console.mailer import ConsoleMailer
from keyturn.adapters.limits.redis_windows import RedisWindows
from keyturn.adapters.limits.throttle import DEFAULT_RATES, LimitsThrottle, Rates
from keyturn.adapters.memory.throttle import Unthrottled
from keyturn.adapters.redis.revocations import RedisRevocationList
from keyturn.adapters.smtp.mailer import SmtpMailer
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.migrations import migrate
from keyturn.adapters.sqlalchemy.tables import deployment
from keyturn.adapters.sqlalchemy.throttle_storage import SqlThrottleWindows
from keyturn.container import Container
from keyturn.delivery.http.services import HttpOptions
from keyturn.domain.errors import HashingBusy, StoreUnavailable
from keyturn.domain.policies import PasswordPolicy, SessionPolicy
from keyturn.domain.secret import Secret
from keyturn.main import build_container, create_app, metrics_app, mount
from keyturn.settings import Settings, SettingsError

PERSON = {"email": "ada@example.com", "password": "a passphrase of my own"}


def cheap_settings(folder: Path, **chosen: object) -> Settings:
    cheapest = {"argon2_time_cost": 5, "argon2_memory_kib": 7168, "argon2_parallelism": 1}
    return Settings.model_validate({"data_dir": folder} | cheapest | chosen)


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory without a `.env`."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return cheap_settings(tmp_path / "data")


@pytest.fixture
def container(settings: Settings) -> Container:
    # With all that is there only if somebody asks for it.
    everything = {
        "breach_url": "http://127.0.0.1:9/range/",
        "imported_hashes": True,
        "redis_url": SecretStr("redis://127.0.0.1:9/0"),
    }
    return build_container(settings.model_copy(update=everything))


@pytest.mark.parametrize("name", sorted(Container.providers))
def test_every_provider_gives_what_it_promises(name: str, container: Container) -> None:
    assert container.providers[name]() is not None


def test_whatever_has_a_state_is_there_once(container: Container) -> None:
    for provider in container.providers.values():
        if isinstance(provider, providers.Singleton):
            assert provider() is provider()


def test_only_a_unit_of_work_is_made_anew_each_time(container: Container) -> None:
    made_anew = {
        name for name, provider in container.providers.items() if provider() is not provider()
    }
    assert made_anew == {"unit_of_work"}


def test_nothing_in_the_graph_is_opened_by_it() -> None:
    kinds = {type(provider) for provider in Container.providers.values()}
    assert providers.Resource not in kinds


def test_two_containers_share_nothing(tmp_path: Path) -> None:
    one = build_container(cheap_settings(tmp_path / "one"))
    other = build_container(cheap_settings(tmp_path / "other"))
    for name in ("database", "hasher", "codec", "services", "rotate_refresh"):
        assert one.providers[name]() is not other.providers[name]()
    assert one.keys().signer.kid != other.keys().signer.kid


def test_what_nobody_chooses_is_what_core_adapters_and_delivery_have_as_default(
    tmp_path: Path,
) -> None:
    container = Container(settings=Settings(data_dir=tmp_path))
    assert container.session_policy() == SessionPolicy()
    assert container.password_policy() == PasswordPolicy()
    assert container.argon2_parameters() == Argon2Parameters()
    assert container.http_options() == HttpOptions()
    for action, rates in container.settings().throttle_rates().items():
        assert Rates.parse(rates).per_source == DEFAULT_RATES[action].per_source


def test_what_is_chosen_reaches_the_delivery(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        secure_cookies=False,
        cors_origins=("https://app.example.com",),
        trusted_proxies=("10.0.0.0/8",),
        password_grant=False,
        max_body_bytes=20000,
    )
    assert Container(settings=settings).http_options() == HttpOptions(
        secure_cookies=False,
        allowed_origins=("https://app.example.com",),
        trusted_proxies=("10.0.0.0/8",),
        password_grant=False,
        max_body_bytes=20000,
    )


async def test_attempts_are_counted_where_the_settings_say(tmp_path: Path) -> None:
    redis_url = SecretStr("redis://127.0.0.1:9/0")
    for chosen, windows in (
        ({}, SqlThrottleWindows),
        ({"redis_url": redis_url}, RedisWindows),
    ):
        container = build_container(cheap_settings(tmp_path, **chosen))
        assert isinstance(container.throttle_windows(), windows)
        assert isinstance(container.throttle(), LimitsThrottle)
    off = build_container(cheap_settings(tmp_path, throttle="off"))
    assert isinstance(off.throttle(), Unthrottled)


def test_attempts_of_an_operator_at_the_command_line_are_not_counted(tmp_path: Path) -> None:
    container = build_container(cheap_settings(tmp_path))
    assert isinstance(container.administration().register_user._throttle, Unthrottled)
    assert isinstance(container.services().register_user._throttle, LimitsThrottle)


def test_mails_are_sent_by_the_server_that_the_settings_name(tmp_path: Path) -> None:
    chosen = {"mail": "smtp", "smtp_host": "mx.example.com", "mail_from": "a@example.com"}
    assert isinstance(build_container(cheap_settings(tmp_path)).mailer(), ConsoleMailer)
    assert isinstance(build_container(cheap_settings(tmp_path, **chosen)).mailer(), SmtpMailer)


def test_revocations_are_followed_in_redis_where_there_is_one(tmp_path: Path) -> None:
    container = build_container(
        cheap_settings(tmp_path, redis_url=SecretStr("redis://127.0.0.1:9/0"))
    )
    followed = container.revocation_list()
    assert isinstance(followed, RedisRevocationList)
    assert container.revocations()._list is followed


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        ({"database_url": SecretStr("mysql://u:hunter2@h/n")}, "KEYTURN_DATABASE_URL: "),
        ({"argon2_memory_kib": 1024}, "KEYTURN_ARGON2_MEMORY_KIB: "),
        ({"data_dir": Path("/dev/null/x")}, "KEYTURN_DATA_DIR: "),
        ({"keys_dir": Path("/dev/null/x")}, "KEYTURN_KEYS_DIR: "),
        ({"throttle_login": "often"}, "KEYTURN_THROTTLE_LOGIN: 'often' is no rate"),
        ({"throttle_reset": "0/day"}, "KEYTURN_THROTTLE_RESET: "),
        ({"mail_templates": Path("/dev/null/x")}, "KEYTURN_MAIL_TEMPLATES: "),
        (
            {"mail": "smtp", "smtp_host": "mx.example.com", "mail_from": "a@b@c"},
            "KEYTURN_MAIL_FROM: ",
        ),
    ],
)
def test_what_an_adapter_refuses_is_told_with_the_name_of_the_setting(
    chosen: dict[str, object], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        create_app(cheap_settings(tmp_path, **chosen))
    assert "hunter2" not in str(caught.value)


def test_a_signing_key_of_another_algorithm_stops_the_start(tmp_path: Path) -> None:
    build_container(cheap_settings(tmp_path))
    with pytest.raises(SettingsError, match="is for EdDSA, not ES256"):
        build_container(cheap_settings(tmp_path, algorithm="ES256"))


async def test_two_apps_live_in_one_process(tmp_path: Path) -> None:
    one = await migrated_app(cheap_settings(tmp_path / "one"))
    other = await migrated_app(cheap_settings(tmp_path / "other"))
    async with (
        one.router.lifespan_context(one),
        other.router.lifespan_context(other),
        client_of(one) as ada,
        client_of(other) as eve,
    ):
        assert (await ada.post("/v1/auth/register", json=PERSON)).status_code == 201
        tokens = (await ada.post("/v1/auth/login", json=PERSON)).json()
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await ada.get("/v1/users/me", headers=bearer)).status_code == 200
        assert (await eve.get("/v1/users/me", headers=bearer)).status_code == 401
        assert (await eve.post("/v1/auth/login", json=PERSON)).status_code == 401


async def test_the_end_of_the_app_closes_what_it_worked_with(settings: Settings) -> None:
    app = await migrated_app(settings)
    services = app.state.keyturn
    async with app.router.lifespan_context(app):
        await services.readiness["database"]()
    hasher = services.register_user._hasher
    with pytest.raises(HashingBusy):
        await hasher.hash(Secret("too late"))


async def test_an_app_is_not_ready_before_its_database_is_migrated(settings: Settings) -> None:
    app = await asyncio.to_thread(create_app, settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        with pytest.raises(StoreUnavailable):
            await app.state.keyturn.readiness["migrations"]()
        unready = await client.get("/health/ready")
        assert unready.status_code == 503
        assert unready.json()["failing"] == ["migrations", "revocations"]
        assert (await client.get("/health/live")).status_code == 200
        await migrate(settings.used_database_url)
        await app.state.keyturn.readiness["migrations"]()


async def test_an_app_is_ready_when_it_begins_to_serve(settings: Settings) -> None:
    app = await migrated_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/health/ready")).status_code == 200


async def test_an_embedding_app_mounts_the_metrics_where_it_likes(tmp_path: Path) -> None:
    host = FastAPI()
    service = await migrated_app(cheap_settings(tmp_path))
    host.mount("/internal/figures", metrics_app(service))
    async with client_of(service) as client:
        assert (await client.get("/health/live")).status_code == 200
    async with client_of(host) as client:
        told = await client.get("/internal/figures/")
        assert 'route="/health/live",status="200"' in told.text
        assert told.headers["content-type"].startswith("text/plain")
        head = await client.head("/internal/figures/")
        assert (head.status_code, head.content) == (200, b"")
        assert (await client.post("/internal/figures/")).status_code == 405


async def test_what_the_use_cases_do_is_counted(settings: Settings) -> None:
    app = await migrated_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await client.post("/v1/auth/register", json=PERSON)
        await client.post("/v1/auth/login", json=PERSON | {"password": "not the right one"})
        old = (await client.post("/v1/auth/login", json=PERSON)).json()["refresh_token"]
        # The first rotates; the others come in time to be answered with the same again.
        first, *_ = [
            await client.post("/v1/auth/refresh", json={"refresh_token": old}) for _ in range(3)
        ]
        await client.post("/v1/auth/refresh", json={"refresh_token": first.json()["refresh_token"]})
        assert (
            await client.post("/v1/auth/refresh", json={"refresh_token": old})
        ).status_code == 401
        told = app.state.keyturn_metrics.render().decode()
    for line in (
        'keyturn_http_requests_total{method="POST",route="/v1/auth/register",status="201"} 1.0',
        'keyturn_http_request_duration_seconds_count{method="POST",route="/v1/auth/login"} 2.0',
        'keyturn_logins_total{result="succeeded"} 1.0',
        'keyturn_logins_total{result="wrong_password"} 1.0',
        'keyturn_refreshes_total{outcome="rotated"} 2.0',
        'keyturn_refreshes_total{outcome="replayed"} 2.0',
        'keyturn_refreshes_total{outcome="reuse_detected"} 1.0',
        'keyturn_password_hashes{state="running"} 0.0',
        "keyturn_revocations 1.0",
    ):
        assert line in told.splitlines()


async def migrated_app(settings: Settings) -> FastAPI:
    app = await asyncio.to_thread(create_app, settings)
    await migrate(settings.used_database_url)
    return app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="https://auth.example.com"
    )


@pytest.mark.parametrize(("dpop", "takes_proofs"), [("off", False), ("on", True), ("nonce", True)])
async def test_proofs_are_taken_only_where_the_setting_says_so(
    container: Container, dpop: str, takes_proofs: bool
) -> None:
    settings = container.settings().model_copy(update={"dpop": dpop})
    container.settings.override(settings)
    assert (await container.check_proof().nonce() is not None) is takes_proofs
    assert container.http_options().dpop is takes_proofs


@pytest.mark.parametrize("mounted", [False, True])
async def test_a_service_records_the_lifetime_of_its_tokens_before_the_first_request(
    tmp_path: Path, mounted: bool
) -> None:
    settings = cheap_settings(tmp_path / "data", access_ttl=7200)
    app = FastAPI()
    if mounted:
        mount(app, settings)
    else:
        app = create_app(settings)
    await migrate(settings.used_database_url)
    database = Database(settings.used_database_url)
    async with app.router.lifespan_context(app):
        rows = await database.fetch(select(deployment.c.longest_access_ttl), {})
    assert list(rows) == [(7200,)]
    await database.dispose()
