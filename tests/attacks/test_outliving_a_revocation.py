"""An attacker holds an access token whose session has ended, and waits until that is forgotten.

Two processes share one store and its keys, and have different settings. Each has a clock that the
test moves.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from dependency_injector import providers

from keyturn.adapters.clients_file.clients import add_client
from keyturn.adapters.memory.deployment import MemoryDeploymentRecord
from keyturn.adapters.memory.store import MemoryStore
from keyturn.container import Container
from keyturn.delivery.http.app import build_app
from keyturn.domain.errors import InvalidAccessToken, InvalidRefreshToken
from keyturn.domain.policies import SessionPolicy
from keyturn.domain.secret import Secret
from keyturn.settings import Settings
from keyturn.testing.builders import make_principal
from keyturn.testing.doubles import ManualClock
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand
from keyturn.use_cases.revoke_family import RevokeFamilyCommand
from keyturn.use_cases.token_pair import TokenPair
from keyturn.verifier import RevocationFeed, TokenVerifier

SOURCE = Path(__file__).parents[2] / "src"
ISSUER = "http://127.0.0.1:8000"
ADA = "ada@example.com"
PASSWORD = Secret("a passphrase of my own")

LONG = timedelta(minutes=30)
SHORT = timedelta(minutes=1)

MOMENTS = (timedelta(seconds=210), timedelta(minutes=20), LONG - timedelta(seconds=1))
"""How long after the end of the session the attacker tries the token, which expires after LONG."""

Start = Callable[..., Container]


@pytest.fixture
def clock() -> ManualClock:
    """The time on every machine; that of today, because a command has no clock to be moved."""
    return ManualClock(datetime.now(UTC).replace(microsecond=0))


@pytest.fixture
async def start(
    tmp_path: Path, database_url: str, clock: ManualClock, environment: pytest.MonkeyPatch
) -> AsyncIterator[Start]:
    """Starts services that share a store and keys."""
    started: list[Container] = []
    (tmp_path / "data").mkdir()

    def start_one(access_ttl: timedelta) -> Container:
        settings = Settings.model_validate(
            {
                "data_dir": tmp_path / "data",
                "database_url": database_url,
                "issuer": ISSUER,
                "access_ttl": access_ttl,
                "throttle": "off",
                "argon2_time_cost": 5,
                "argon2_memory_kib": 7168,
                "argon2_parallelism": 1,
            }
        )
        container = Container(settings=settings)
        container.clock.override(providers.Object(clock))
        started.append(container)
        return container

    yield start_one
    for container in started:
        container.hasher().close()
        await container.database().dispose()


async def log_in(service: Container) -> TokenPair:
    await service.register_user().execute(RegisterUserCommand(ADA, PASSWORD))
    return await service.login_user().execute(LoginUserCommand(ADA, PASSWORD))


async def is_accepted(service: Container, tokens: TokenPair) -> bool:
    """Return whether a worker accepts the access token that has just started."""
    await service.purge_expired().execute()
    service.revocations.reset()
    service.authenticate_access.reset()
    await service.revocations().follow()
    try:
        service.authenticate_access().execute(tokens.access_token)
    except InvalidAccessToken:
        return False
    return True


async def log_out(service: Container, tokens: TokenPair) -> None:
    await service.revoke_family().execute(RevokeFamilyCommand(refresh_token=tokens.refresh_token))


async def log_out_everywhere(service: Container, tokens: TokenPair) -> None:
    await service.revoke_all_families().execute(
        RevokeAllFamiliesCommand(tokens.user_id, make_principal(tokens.user_id))
    )


@pytest.mark.parametrize("end", [log_out, log_out_everywhere])
async def test_a_thief_gains_nothing_by_waiting_until_a_service_with_a_shorter_lifetime_forgets(
    start: Start, clock: ManualClock, end: Callable[[Container, TokenPair], Awaitable[None]]
) -> None:
    old, new = start(LONG), start(SHORT)
    tokens = await log_in(old)
    assert await is_accepted(old, tokens)
    ended_at = clock.now()
    await end(new, tokens)
    for moment in MOMENTS:
        clock.set(ended_at + moment)
        for service in (old, new):
            assert not await is_accepted(service, tokens)


async def test_a_thief_gains_nothing_by_a_restart_with_a_shorter_lifetime(
    start: Start, clock: ManualClock
) -> None:
    tokens = await log_in(start(LONG))
    ended_at = clock.now()
    await log_out(start(SHORT), tokens)
    clock.set(ended_at + LONG - timedelta(seconds=1))
    assert not await is_accepted(start(SHORT), tokens)


@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "disable", ADA),
        ("users", "set-roles", ADA),
        ("users", "delete", ADA, "--yes"),
        ("sessions", "revoke", ADA, "--all"),
        ("roles", "define", "user", "profile:read"),
    ],
    ids=" ".join,
)
async def test_a_thief_gains_nothing_by_a_command_without_the_settings_of_the_service(
    start: Start,
    clock: ManualClock,
    tmp_path: Path,
    database_url: str,
    environment: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    service = start(LONG)
    tokens = await log_in(service)
    ended_at = clock.now()
    environment.setenv("KEYTURN_DATABASE_URL", database_url)
    environment.setenv("KEYTURN_ACCESS_TTL", str(int(SHORT.total_seconds())))
    command = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "keyturn", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert command.returncode == 0, command.stderr
    for moment in MOMENTS:
        clock.set(ended_at + moment)
        assert not await is_accepted(service, tokens)


async def test_a_thief_gains_nothing_by_showing_the_token_to_another_service(
    start: Start, clock: ManualClock, tmp_path: Path
) -> None:
    secret = add_client(
        tmp_path / "data" / "clients.toml",
        "notes",
        public=False,
        introspects=False,
        reads_revocations=True,
    )
    assert secret is not None
    old, new = start(LONG), start(SHORT)
    tokens = await log_in(old)
    ended_at = clock.now()
    await log_out(new, tokens)
    app = build_app(new.services(), new.http_options(), published_keys=new.keys())
    transport = httpx.ASGITransport(app)
    for moment in MOMENTS:
        clock.set(ended_at + moment)
        await new.purge_expired().execute()
        async with TokenVerifier(
            issuer=ISSUER,
            audience="keyturn",
            revocations=RevocationFeed("notes", secret),
            transport=transport,
            clock=clock,
        ) as verifier:
            await verifier.check()
            with pytest.raises(InvalidAccessToken):
                await verifier.authenticate(tokens.access_token)
    async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
        feed = await client.get("/v1/revocations", auth=("notes", secret.reveal()))
    [entry] = feed.json()["revocations"]
    skew = timedelta(minutes=1)
    assert datetime.fromisoformat(entry["expires_at"]) == ended_at + LONG + skew


async def test_a_thief_gains_nothing_by_a_first_refresh_during_the_logout() -> None:
    """A process whose first refresh races a logout records its lifetime before it reads."""

    class LoggingOut(MemoryDeploymentRecord):
        """Lets another process, with a shorter lifetime, end the session meanwhile."""

        async def record_access_ttl(self, access_ttl: timedelta) -> None:
            await other.logout(tokens.refresh_token)
            await super().record_access_ttl(access_ttl)

    other = InMemoryKeyturn(session_policy=SessionPolicy(access_ttl=SHORT))
    await other.register()
    tokens = await other.login()
    await other.refresh(tokens.refresh_token)
    racing = InMemoryKeyturn(
        unit_of_work=other.unit_of_work,
        codec=other.codec,
        deployment=LoggingOut(MemoryStore()),
        session_policy=SessionPolicy(access_ttl=LONG),
    )
    # The token before is still within the grace window: a replay writes no family.
    with pytest.raises(InvalidRefreshToken):
        await racing.refresh(tokens.refresh_token)
