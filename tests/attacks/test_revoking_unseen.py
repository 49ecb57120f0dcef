"""A process without the Redis of the service revokes, and an attacker's token lives on unseen."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest
from redis import Redis

from keyturn.adapters.redis.revocations import RedisRevocationList
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.revocations import SqlRevocationList
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.container import Container
from keyturn.domain.errors import InvalidAccessToken, StoreUnavailable
from keyturn.settings import load_settings
from keyturn.testing.builders import make_claims, make_family, make_user
from keyturn.testing.doubles import ManualClock
from keyturn.use_cases.revocation_replica import RevocationReplica

SOURCE = Path(__file__).parents[2] / "src"
ADA = "ada@example.com"
MAX_STALENESS = timedelta(seconds=10)


class RedisServer(Protocol):
    url: str

    def start(self) -> None: ...

    def stop(self) -> None: ...


Ended = subprocess.CompletedProcess[str]
Command = Callable[..., Ended]


async def test_a_thief_gains_nothing_by_a_process_that_revokes_without_the_feed(
    sqlite_url: str, redis_url: str
) -> None:
    database, clock = Database(sqlite_url), ManualClock()
    feed = RedisRevocationList(
        redis_url, SqlRevocationList(database), clock, max_staleness=MAX_STALENESS
    )
    service, verifier = (RevocationReplica(feed, clock, MAX_STALENESS) for _ in range(2))
    await service.follow()
    await verifier.follow()
    family = make_family(make_user())
    async with SqlUnitOfWork(database) as without_feed:
        without_feed.revocations.add_session(family.id, clock.now())
        await without_feed.commit()
    # Both look often. Each must read the durable list itself, whatever the other has read.
    for _ in range(10):
        clock.advance(MAX_STALENESS / 10)
        await service.follow()
        await verifier.follow()
    for follower in (service, verifier):
        with pytest.raises(InvalidAccessToken):
            follower.check(make_claims(make_user(), family), clock.now())
    await feed.aclose()
    await database.dispose()


async def test_who_cuts_a_worker_off_the_store_alone_gains_a_bounded_time(
    sqlite_url: str, redis_url: str
) -> None:
    database, clock = Database(sqlite_url), ManualClock()
    durable = SqlRevocationList(database)
    feed = RedisRevocationList(redis_url, durable, clock, max_staleness=MAX_STALENESS)
    replica = RevocationReplica(feed, clock, MAX_STALENESS)
    await replica.follow()

    async def cut_off(after: str | None) -> None:
        raise StoreUnavailable

    durable.read = cut_off  # type: ignore[method-assign,assignment]  # it never returns
    await replica.follow()
    clock.advance(MAX_STALENESS / 2)
    with pytest.raises(StoreUnavailable):
        await replica.follow()
    await feed.aclose()
    await database.dispose()


# The command line


@pytest.fixture
def command(environment: pytest.MonkeyPatch, tmp_path: Path, sqlite_url: str) -> Command:
    """Carries out a command on the database of the service; KEYTURN_REDIS_URL is up to the test."""
    environment.setenv("KEYTURN_DATABASE_URL", sqlite_url)

    def carry_out(*arguments: str, answer: str = "") -> Ended:
        return subprocess.run(
            [sys.executable, "-m", "keyturn", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            input=answer,
            capture_output=True,
            text=True,
            check=False,
        )

    return carry_out


@pytest.fixture
def start_service(command: Command, environment: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets a service record what it follows, as it does when it starts and every ten seconds."""

    async def start() -> None:
        container = Container(settings=load_settings())
        await container.record_deployment().execute()
        feed = container.revocation_feed()
        if isinstance(feed, RedisRevocationList):
            await feed.aclose()
        await container.database().dispose()

    return lambda: asyncio.run(start())


def refused(ended: Ended) -> bool:
    """Return whether a command was refused by one line that names the setting."""
    if ended.returncode == 0:
        return False
    assert ended.returncode == 2
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert line.startswith("keyturn: KEYTURN_REDIS_URL: not ")
    return True


def test_an_operator_cannot_revoke_unseen_without_the_redis_of_the_service(
    command: Command,
    start_service: Callable[[], None],
    environment: pytest.MonkeyPatch,
    redis_server: RedisServer,
) -> None:
    assert not refused(command("create-admin", "--email", ADA, answer="a passphrase of my own\n"))
    environment.setenv("KEYTURN_REDIS_URL", redis_server.url)
    start_service()
    environment.delenv("KEYTURN_REDIS_URL")
    for writing in (
        ("users", "set-roles", ADA, "admin"),
        ("users", "disable", ADA),
        ("users", "delete", ADA, "--yes"),
        ("sessions", "revoke", ADA, "--all"),
        ("roles", "define", "editor", "posts:delete"),
        ("purge",),
    ):
        assert refused(command(*writing)), writing
    for reading in (("users", "list"), ("sessions", "list", ADA), ("outbox", "list")):
        assert not refused(command(*reading)), reading
    environment.setenv("KEYTURN_REDIS_URL", redis_server.url)
    assert not refused(command("users", "set-roles", ADA, "admin"))


def test_an_operator_cannot_revoke_unseen_with_another_redis(
    command: Command,
    start_service: Callable[[], None],
    environment: pytest.MonkeyPatch,
    redis_server: RedisServer,
) -> None:
    environment.setenv("KEYTURN_REDIS_URL", redis_server.url)
    start_service()
    # Another data set under another name is another Redis; the host name says nothing.
    environment.setenv("KEYTURN_REDIS_URL", f"{redis_server.url}?db=1")
    assert refused(command("purge"))


def test_a_redis_that_lost_its_data_gets_its_identity_back_from_the_service(
    command: Command,
    start_service: Callable[[], None],
    environment: pytest.MonkeyPatch,
    redis_server: RedisServer,
) -> None:
    environment.setenv("KEYTURN_REDIS_URL", redis_server.url)
    start_service()
    with Redis.from_url(redis_server.url) as redis:
        redis.flushall()
    assert refused(command("purge"))
    start_service()
    assert not refused(command("purge"))


def test_a_service_that_stops_to_use_redis_lets_the_command_line_go_without(
    command: Command,
    start_service: Callable[[], None],
    environment: pytest.MonkeyPatch,
    redis_server: RedisServer,
) -> None:
    environment.setenv("KEYTURN_REDIS_URL", redis_server.url)
    start_service()
    environment.delenv("KEYTURN_REDIS_URL")
    start_service()
    assert not refused(command("purge"))
