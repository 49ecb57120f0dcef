"""Attacks that use up what belongs to others: allowances of attempts, and turns in the queue."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from keyturn.adapters.argon2.hasher import Argon2PasswordHasher
from keyturn.adapters.limits.process_windows import ProcessWindows
from keyturn.adapters.limits.throttle import LimitsThrottle
from keyturn.domain.errors import (
    HashingBusy,
    InvalidCredentials,
    InvalidRefreshToken,
    TooManyAttempts,
    WrongCurrentPassword,
)
from keyturn.domain.events import Origin
from keyturn.domain.secret import Secret
from keyturn.domain.source import Source, source_of
from keyturn.ports.proofs import CheckedProof
from keyturn.testing.cheap_argon2 import cheap_argon2_parameters
from keyturn.testing.doubles import PlainPasswordHasher
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.reset_password import ResetPasswordCommand
from keyturn.use_cases.rotate_refresh import RotateRefreshCommand

WRONG = Secret("not the right one")
NEW = Secret("seven quiet glaciers")
ATTACKER, OWNER = Origin("198.51.100.66"), Origin("192.0.2.7")
PER_SESSION = 60
"""Refreshes of one session in a minute."""


def throttled() -> InMemoryKeyturn:
    return InMemoryKeyturn(throttle=LimitsThrottle(ProcessWindows()))


# The allowance of a session.


async def flood(keyturn: InMemoryKeyturn, command: RotateRefreshCommand) -> list[type[Exception]]:
    """Try three times as often as a session may, from many addresses, and return the errors."""
    errors: list[type[Exception]] = []
    for number in range(3 * PER_SESSION):
        origin = Origin(f"198.51.100.{number}")
        try:
            await keyturn.rotate_refresh.execute(replace(command, origin=origin))
        except (InvalidRefreshToken, TooManyAttempts) as error:
            errors.append(type(error))
    return errors


@pytest.mark.parametrize("copy", ["without the key", "with another key", "by another client"])
async def test_a_thief_with_a_useless_copy_can_not_use_up_the_refreshes_of_the_owner(
    copy: str,
) -> None:
    keyturn = throttled()
    await keyturn.register()
    now = keyturn.clock.now()
    hers, other = (CheckedProof(key, key.encode(), now) for key in ("hers", "another"))
    login = LoginUserCommand(ADA, PASSWORD, proof=hers)
    token = (await keyturn.login_user.execute(login)).refresh_token
    command = {
        "without the key": RotateRefreshCommand(token),
        "with another key": RotateRefreshCommand(token, proof=other),
        "by another client": RotateRefreshCommand(token, proof=hers, client_id="notes"),
    }[copy]
    assert await flood(keyturn, command) == [InvalidRefreshToken] * 3 * PER_SESSION
    await keyturn.rotate_refresh.execute(RotateRefreshCommand(token, OWNER, proof=hers))


async def test_a_client_that_repeats_a_refresh_without_end_is_refused() -> None:
    keyturn = throttled()
    await keyturn.register()
    token = (await keyturn.login()).refresh_token
    assert await flood(keyturn, RotateRefreshCommand(token)) == [TooManyAttempts] * 2 * PER_SESSION


async def test_a_thief_can_not_hide_a_theft_behind_a_flood_of_refreshes() -> None:
    keyturn = throttled()
    await keyturn.register()
    stolen = (await keyturn.login()).refresh_token
    first = (await keyturn.refresh(stolen)).tokens.refresh_token
    # Replays use up the allowance; then the owner rotates no more, and the old copy comes.
    await flood(keyturn, RotateRefreshCommand(stolen))
    keyturn.advance(seconds=30)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.rotate_refresh.execute(RotateRefreshCommand(stolen, ATTACKER))
    keyturn.advance(minutes=5)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(first)


# The allowance of an address.


async def guesses(keyturn: InMemoryKeyturn, addresses: Sequence[str | None]) -> int:
    """Try one password from each address, and return how many attempts were refused."""
    refused = 0
    for number, ip in enumerate(addresses):
        command = LoginUserCommand(f"{number}@example.com", WRONG, origin=Origin(ip))
        try:
            await keyturn.login_user.execute(command)
        except TooManyAttempts:
            refused += 1
        except InvalidCredentials:
            pass
    return refused


async def test_an_attacker_gains_nothing_by_hiding_the_address() -> None:
    keyturn = throttled()
    hidden = [None, "unknown", "", "_hidden", "unix:"]
    assert await guesses(keyturn, hidden * 8) == 10
    assert await guesses(keyturn, [OWNER.ip]) == 0


async def test_an_attacker_gains_little_by_changing_the_ipv6_address_for_each_attempt() -> None:
    keyturn = throttled()
    assert await guesses(keyturn, [f"2001:db8:1:0:{n:x}::1" for n in range(40)]) == 10
    assert await guesses(keyturn, [f"2001:db8:2:{n:x}::1" for n in range(256)]) == 256 - 4 * 30
    keyturn = throttled()
    assert await guesses(keyturn, [f"2001:db8:3:{n:x}00::1" for n in range(256)] * 2) == 2 * (
        256 - 240
    )


async def test_an_attacker_gains_nothing_by_an_ipv6_address_around_an_ipv4_address() -> None:
    keyturn = throttled()
    shapes = [
        "198.51.100.66",
        "::ffff:198.51.100.66",
        "64:ff9b::198.51.100.66",
        *(f"2002:c633:6442:{n:x}::1" for n in range(8)),
    ]
    assert await guesses(keyturn, (shapes * 4)[:40]) == 10


# Turns in the queue of hashes.


class Desk:
    """A hasher of one thread, whose work is done one job at a time when the test says so."""

    def __init__(self, queue_size: int) -> None:
        self.hasher = Argon2PasswordHasher(
            cheap_argon2_parameters(), threads=1, queue_size=queue_size
        )
        self.done: list[str] = []
        self.refused: list[str] = []
        self._begun = threading.Event()
        self._admitted = threading.Semaphore(0)
        self._finished = threading.Semaphore(0)

    async def come(self, source: Source, name: str) -> None:
        """Wait for a turn, and note its end."""

        def work() -> None:
            self._begun.set()
            if not self._admitted.acquire(timeout=60):
                raise TimeoutError
            self.done.append(name)
            self._finished.release()

        try:
            await self.hasher._beside_the_loop(work, source)
        except HashingBusy:
            self.refused.append(name)

    async def begin(self) -> None:
        """Wait until the thread has taken its first job."""
        if not self._begun.is_set():
            assert await asyncio.to_thread(self._begun.wait, 60)

    async def admit(self, number: int) -> None:
        """Let so many jobs be done."""
        for _ in range(number):
            self._admitted.release()
            assert await asyncio.to_thread(self._finished.acquire, timeout=60)

    def close(self) -> None:
        """Let whatever is left be done."""
        for _ in range(200):
            self._admitted.release()
        self.hasher.close()


@pytest.fixture
async def open_desk() -> AsyncIterator[Callable[[int], Desk]]:
    """Opens desks with room for so many to wait."""
    desks: list[Desk] = []

    def open_desk(queue_size: int) -> Desk:
        desks.append(Desk(queue_size))
        return desks[-1]

    yield open_desk
    for desk in desks:
        await asyncio.to_thread(desk.close)


async def arrive(desk: Desk, *who: tuple[Source, str]) -> list[asyncio.Task[None]]:
    """Let them come one after the other; returns when each waits, runs or was refused."""
    tasks = []
    for source, name in who:
        tasks.append(asyncio.create_task(desk.come(source, name)))
        await asyncio.sleep(0)
        await desk.begin()
    return tasks


def crowd(number: int, source: Source) -> list[tuple[Source, str]]:
    return [(source, f"attacker {n}") for n in range(number)]


EVE, ANN, BOB = (source_of(ip) for ip in ("198.51.100.66", "192.0.2.7", "192.0.2.8"))


async def test_eighty_connections_of_one_address_delay_another_by_one_hash(
    open_desk: Callable[[int], Desk],
) -> None:
    desk = open_desk(128)
    tasks = await arrive(desk, *crowd(80, EVE), (ANN, "Ann"), (BOB, "Bob"), (ANN, "Ann again"))
    # One runs already; then one of each source that waits.
    await desk.admit(7)
    assert desk.done == [
        "attacker 0",
        "attacker 1",
        "Ann",
        "Bob",
        "attacker 2",
        "Ann again",
        "attacker 3",
    ]
    await desk.admit(76)
    await asyncio.gather(*tasks)
    assert not desk.refused


async def test_an_attacker_who_comes_back_at_once_waits_behind_everybody_else(
    open_desk: Callable[[int], Desk],
) -> None:
    desk = open_desk(16)
    tasks = await arrive(desk, (EVE, "attacker"), (EVE, "attacker 1"), (ANN, "Ann"), (BOB, "Bob"))
    await desk.admit(2)
    tasks += await arrive(desk, (EVE, "attacker 2"))
    await desk.admit(3)
    assert desk.done == ["attacker", "attacker 1", "Ann", "Bob", "attacker 2"]
    await asyncio.gather(*tasks)


async def test_an_attacker_who_fills_the_queue_gives_way_and_turns_nobody_else_away(
    open_desk: Callable[[int], Desk],
) -> None:
    desk = open_desk(8)
    tasks = await arrive(desk, *crowd(80, EVE), (ANN, "Ann"), (BOB, "Bob"), (EVE, "late attacker"))
    # Beyond nine places each further connection of the attacker was turned away, and for each
    # newcomer the newest one that waited.
    await asyncio.to_thread(desk._begun.wait)
    assert "Ann" not in desk.refused
    assert "Bob" not in desk.refused
    assert len(desk.refused) == 80 - 9 + 2 + 1
    assert {"attacker 7", "attacker 8", "attacker 79", "late attacker"} <= set(desk.refused)
    assert (desk.hasher.running, desk.hasher.waiting) == (1, 8)
    await desk.admit(4)
    assert desk.done == ["attacker 0", "attacker 1", "Ann", "Bob"]
    await desk.admit(5)
    await asyncio.gather(*tasks)


async def test_an_attacker_gains_nothing_by_the_many_networks_of_one_customer(
    open_desk: Callable[[int], Desk],
) -> None:
    desk = open_desk(64)
    many = [(source_of(f"2001:db8:1:{n:x}::1"), f"attacker {n}") for n in range(40)]
    tasks = await arrive(desk, *many, (ANN, "Ann"))
    await desk.admit(3)
    assert desk.done == ["attacker 0", "attacker 1", "Ann"]
    await desk.admit(38)
    await asyncio.gather(*tasks)


async def test_an_attacker_can_not_keep_places_by_hanging_up(
    open_desk: Callable[[int], Desk],
) -> None:
    desk = open_desk(4)
    [running] = await arrive(desk, (EVE, "attacker"))
    for _ in range(20):
        tasks = await arrive(desk, *crowd(4, EVE))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert desk.hasher.waiting == 0
    tasks = await arrive(desk, (ANN, "Ann"), (BOB, "Bob"))
    await desk.admit(3)
    assert desk.done == ["attacker", "Ann", "Bob"]
    assert not desk.refused
    await asyncio.gather(running, *tasks)


class NotingHasher(PlainPasswordHasher):
    """Notes the source of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[Source] = []

    async def hash(self, password: Secret, *, source: Source) -> str:  # type: ignore[override]  # none may be left out
        self.sources.append(source)
        return await super().hash(password, source=source)

    async def verify(  # type: ignore[override]  # likewise
        self, password_hash: str | None, password: Secret, *, source: Source
    ) -> bool:
        self.sources.append(source)
        return await super().verify(password_hash, password, source=source)


Attempt = Callable[[InMemoryKeyturn], Awaitable[object]]


async def _register(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register_user.execute(
        RegisterUserCommand("eve@example.com", PASSWORD, origin=ATTACKER)
    )


async def _log_in(keyturn: InMemoryKeyturn) -> None:
    with pytest.raises(InvalidCredentials):
        await keyturn.login_user.execute(LoginUserCommand(ADA, WRONG, origin=ATTACKER))


async def _log_in_and_rehash(keyturn: InMemoryKeyturn) -> None:
    assert isinstance(keyturn.hasher, PlainPasswordHasher)
    keyturn.hasher._rounds = 2
    await keyturn.login_user.execute(LoginUserCommand(ADA, PASSWORD, origin=ATTACKER))


async def _guess_the_current_password(keyturn: InMemoryKeyturn) -> None:
    tokens = await keyturn.login_user.execute(LoginUserCommand(ADA, PASSWORD, origin=ATTACKER))
    with pytest.raises(WrongCurrentPassword):
        await keyturn.change_password.execute(
            ChangePasswordCommand(tokens.user_id, tokens.session_id, WRONG, NEW, ATTACKER)
        )


async def _change_the_password(keyturn: InMemoryKeyturn) -> None:
    tokens = await keyturn.login_user.execute(LoginUserCommand(ADA, PASSWORD, origin=ATTACKER))
    await keyturn.change_password.execute(
        ChangePasswordCommand(tokens.user_id, tokens.session_id, PASSWORD, NEW, ATTACKER)
    )


async def _reset_the_password(keyturn: InMemoryKeyturn) -> None:
    token = await keyturn.forget_password()
    await keyturn.reset_password.execute(ResetPasswordCommand(token, NEW, ATTACKER))


@pytest.mark.parametrize(
    "attempt",
    [
        _register,
        _log_in,
        _log_in_and_rehash,
        _guess_the_current_password,
        _change_the_password,
        _reset_the_password,
    ],
)
async def test_an_attacker_finds_no_request_whose_hash_waits_in_the_turn_of_others(
    attempt: Attempt,
) -> None:
    hasher = NotingHasher()
    keyturn = InMemoryKeyturn(hasher=hasher)
    await keyturn.register()
    hasher.sources.clear()
    await attempt(keyturn)
    assert set(hasher.sources) == {EVE}
