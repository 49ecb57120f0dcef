"""An attacker who measures time wants to know which addresses have an account.

A network between the service and its database makes each round trip visible. So the paths for
known and unknown addresses take as many round trips, whatever decides the answer.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from itertools import count

import pytest
from benchmarks.counting_proxy import FrontendMessages
from sqlalchemy import make_url

from keyturn.adapters.limits.throttle import LimitsThrottle
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.mails import SqlMailQueue
from keyturn.adapters.sqlalchemy.throttle_storage import SqlThrottleWindows
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.adapters.system.ids import UuidGenerator
from keyturn.domain.errors import InvalidCredentials
from keyturn.domain.events import Origin
from keyturn.domain.login_policy import LoginPolicy
from keyturn.domain.mail import MailKind
from keyturn.domain.secret import Secret
from keyturn.domain.user import User, UserStatus
from keyturn.ports.throttling import Throttle
from keyturn.testing.in_memory import PASSWORD, InMemoryKeyturn
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.request_email_verification import RequestEmailVerificationCommand
from keyturn.use_cases.request_password_reset import RequestPasswordResetCommand

WRONG = Secret("not the right password")
GUESSES = LoginPolicy().failures_from_anywhere
TRIES = 3
"""The driver prepares each statement at its first execution, which costs a round trip more."""

Prepare = Callable[[InMemoryKeyturn, str], Awaitable[Secret]]
"""Brings an address into a state, and returns the password that is tried."""


class CountingWire:
    """Stands between one connection pool and PostgreSQL, and counts round trips."""

    def __init__(self, url: str) -> None:
        self._behind = make_url(url)
        self.round_trips = 0

    async def listen(self) -> str:
        """Listen, and return a URL of the same database by this way."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        url = self._behind.difference_update_query(["host"]).set(host="127.0.0.1", port=port)
        # A request for TLS would come before the messages that are counted.
        url = url.update_query_dict({"sslmode": "disable"})
        return url.render_as_string(hide_password=False)

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = str(self._behind.query.get("host") or self._behind.host)
        if host.startswith("/"):
            behind = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.5432")
        else:
            behind = await asyncio.open_connection(host, self._behind.port or 5432)
        messages = FrontendMessages()

        async def forward() -> None:
            while data := await reader.read(65_536):
                self.round_trips += messages.count(data)
                behind[1].write(data)
            behind[1].close()

        async def back() -> None:
            while data := await behind[0].read(65_536):
                writer.write(data)
            writer.close()

        await asyncio.gather(forward(), back())


@pytest.fixture
async def wire(postgres_url: str) -> AsyncIterator[CountingWire]:
    wire = CountingWire(postgres_url)
    yield wire
    await wire.close()


@pytest.fixture
async def database(wire: CountingWire) -> AsyncIterator[Database]:
    """A database on one connection, so that its statements are prepared once."""
    database = Database(await wire.listen(), pool_size=1)
    yield database
    await database.dispose()


@pytest.fixture
def start(database: Database) -> Callable[..., InMemoryKeyturn]:
    """Starts a service on the counted connection, whose attempts are counted there too."""

    def start(policy: LoginPolicy | None = None) -> InMemoryKeyturn:
        throttle: Throttle = LimitsThrottle(SqlThrottleWindows(database))
        return InMemoryKeyturn(
            unit_of_work=lambda: SqlUnitOfWork(database),
            mail_queue=SqlMailQueue(database),
            ids=UuidGenerator(),
            login_policy=policy,
            throttle=throttle,
        )

    return start


SOURCES = count(1)


def origin() -> Origin:
    """Return an address that has tried nothing yet."""
    number = next(SOURCES)
    return Origin(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")


async def stored(keyturn: InMemoryKeyturn, email: str, *, is_verified: bool = True) -> User:
    return await keyturn.register_user.execute(
        RegisterUserCommand(email, PASSWORD, email_is_verified=is_verified, origin=origin())
    )


async def change(keyturn: InMemoryKeyturn, user: User) -> None:
    async with keyturn.unit_of_work() as uow:
        uow.users.save(replace(user, version=user.version + 1))
        await uow.commit()


async def unknown(_: InMemoryKeyturn, __: str) -> Secret:
    return WRONG


async def wrong_password(keyturn: InMemoryKeyturn, email: str) -> Secret:
    await stored(keyturn, email)
    return WRONG


async def unverified_and_wrong(keyturn: InMemoryKeyturn, email: str) -> Secret:
    await stored(keyturn, email, is_verified=False)
    return WRONG


async def unverified(keyturn: InMemoryKeyturn, email: str) -> Secret:
    await stored(keyturn, email, is_verified=False)
    return PASSWORD


async def disabled(keyturn: InMemoryKeyturn, email: str) -> Secret:
    user = await stored(keyturn, email)
    await change(keyturn, replace(user, status=UserStatus.DISABLED))
    return PASSWORD


async def waiting(keyturn: InMemoryKeyturn, email: str) -> Secret:
    user = await stored(keyturn, email)
    await change(keyturn, replace(user, failed_logins=20, last_failed_login_at=keyturn.clock.now()))
    return PASSWORD


async def last_guess(keyturn: InMemoryKeyturn, email: str) -> Secret:
    """The owner is sent a mail."""
    await change(keyturn, replace(await stored(keyturn, email), failed_logins=GUESSES - 1))
    return WRONG


async def blocked(keyturn: InMemoryKeyturn, email: str) -> Secret:
    await change(keyturn, replace(await stored(keyturn, email), failed_logins=100))
    return PASSWORD


LOGINS: Mapping[str, Prepare] = {
    "unknown": unknown,
    "wrong password": wrong_password,
    "unverified and wrong": unverified_and_wrong,
    "unverified": unverified,
    "disabled": disabled,
    "waiting": waiting,
    "last guess": last_guess,
    "blocked": blocked,
}


def assert_all_cost_the_same(costs: Mapping[str, int]) -> None:
    assert min(costs.values()) > 0
    assert len(set(costs.values())) == 1, costs


async def logins(
    keyturn: InMemoryKeyturn, wire: CountingWire, device: Secret | None
) -> dict[str, int]:
    """Return how many round trips a failed login costs for each kind of address."""
    costs = {}
    for name, prepare in LOGINS.items():
        for number in range(TRIES):
            email = f"{name.replace(' ', '-')}-{number}@example.com"
            password = await prepare(keyturn, email)
            command = LoginUserCommand(email, password, origin=origin(), device_token=device)
            before = wire.round_trips
            with pytest.raises(InvalidCredentials):
                await keyturn.login_user.execute(command)
            costs[name] = wire.round_trips - before
    return costs


@pytest.mark.parametrize("device", ["none", "forged", "live", "of a purged session"])
async def test_an_attacker_learns_nothing_from_the_round_trips_of_a_login(
    start: Callable[..., InMemoryKeyturn], wire: CountingWire, device: str
) -> None:
    keyturn = start(LoginPolicy(requires_verified_email=True))
    await stored(keyturn, "eve@example.com")
    eve = await keyturn.login("eve@example.com")
    assert eve.device_token is not None
    claims = keyturn.codec.decode_device(eve.device_token, keyturn.clock.now())
    assert claims is not None
    purged = replace(claims, family_id=keyturn.ids.family_id())
    tokens = {
        "none": None,
        "forged": Secret("forged"),
        "live": eve.device_token,
        "of a purged session": await keyturn.codec.encode_device(purged),
    }
    costs = await logins(keyturn, wire, tokens[device])
    assert_all_cost_the_same(costs)


async def test_the_failed_logins_did_what_their_names_say(
    start: Callable[..., InMemoryKeyturn], wire: CountingWire
) -> None:
    """Equal costs prove something only if each path was taken."""
    keyturn = start(LoginPolicy(requires_verified_email=True))
    await logins(keyturn, wire, None)
    async with keyturn.unit_of_work() as uow:
        users = {name: await uow.users.get_by_email(f"{name}-0@example.com") for name in (
            "wrong-password", "unverified", "disabled", "waiting", "last-guess", "blocked"
        )}  # fmt: skip
    counts = {name: None if user is None else user.failed_logins for name, user in users.items()}
    assert counts == {
        "wrong-password": 1,
        "unverified": 0,
        "disabled": 0,
        "waiting": 20,
        "last-guess": GUESSES,
        "blocked": 100,
    }
    waiting_user = users["waiting"]
    assert waiting_user is not None
    # A login of the owner that is under way does not start again for it.
    assert waiting_user.version == 1
    mails = await keyturn.mail_queue.list_page(only_dead=False, after=None, limit=100)
    kinds = [(mail.kind, mail.address) for mail in mails]
    assert kinds.count((MailKind.LOGIN_BLOCKED, "last-guess-0@example.com")) == 1
    # One from the registration, one from the login.
    assert kinds.count((MailKind.VERIFY_EMAIL, "unverified-0@example.com")) == 2


async def test_an_attacker_learns_nothing_from_the_round_trips_of_a_registration(
    start: Callable[..., InMemoryKeyturn], wire: CountingWire
) -> None:
    keyturn = start()
    costs = {}
    for name in ("taken", "free"):
        for number in range(TRIES):
            email = f"{name}-{number}@example.com"
            if name == "taken":
                await stored(keyturn, email)
            command = RegisterUserCommand(
                email, PASSWORD, hides_taken_address=True, origin=origin()
            )
            before = wire.round_trips
            await keyturn.register_user.execute(command)
            costs[name] = wire.round_trips - before
    assert_all_cost_the_same(costs)


@pytest.mark.parametrize("asked_for", ["reset", "verification"])
async def test_an_attacker_learns_nothing_from_the_round_trips_of_asking_for_a_mail(
    start: Callable[..., InMemoryKeyturn], wire: CountingWire, asked_for: str
) -> None:
    keyturn = start()
    costs: dict[str, int] = {}
    for name, prepare in LOGINS.items():
        for number in range(TRIES):
            email = f"{name.replace(' ', '-')}-{number}@example.com"
            await prepare(keyturn, email)
            before = wire.round_trips
            if asked_for == "reset":
                await keyturn.request_password_reset.execute(
                    RequestPasswordResetCommand(email, origin())
                )
            else:
                await keyturn.request_email_verification.execute(
                    RequestEmailVerificationCommand(email, origin())
                )
            costs[name] = wire.round_trips - before
    assert_all_cost_the_same(costs)


async def test_an_attacker_cannot_use_up_the_links_of_an_address_by_wrong_passwords(
    start: Callable[..., InMemoryKeyturn],
) -> None:
    """Only a link that is sent counts as one."""
    keyturn = start(LoginPolicy(requires_verified_email=True))
    await stored(keyturn, "ada@example.com", is_verified=False)
    for _ in range(10):
        with pytest.raises(InvalidCredentials):
            await keyturn.login(password=WRONG)
    await keyturn.deliver_mail.execute()
    keyturn.sent_mails.clear()
    keyturn.advance(minutes=15)
    with pytest.raises(InvalidCredentials):
        await keyturn.login()
    await keyturn.deliver_mail.execute()
    assert [mail.subject for mail in keyturn.sent_mails] == [MailKind.VERIFY_EMAIL]


async def test_an_attacker_cannot_fill_a_mailbox_by_logins_that_wait_for_a_link(
    start: Callable[..., InMemoryKeyturn],
) -> None:
    keyturn = start(LoginPolicy(requires_verified_email=True))
    await stored(keyturn, "ada@example.com", is_verified=False)
    await keyturn.deliver_mail.execute()
    keyturn.sent_mails.clear()
    for _ in range(15):
        with pytest.raises(InvalidCredentials):
            await keyturn.login()
    while await keyturn.deliver_mail.execute():
        pass
    assert len(keyturn.sent_mails) == 5
    assert await keyturn.mail_queue.list_page(only_dead=False, after=None, limit=100) == []
