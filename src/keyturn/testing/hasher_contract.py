"""What every password hasher must do.

Subclass it and give two fixtures:

```python
class TestMyHasher(PasswordHasherContract):
    @pytest.fixture
    def hasher(self) -> PasswordHasher:
        return MyHasher(...)

    @pytest.fixture
    def retuned(self) -> PasswordHasher:
        return MyHasher(...)  # the same, with other parameters
```

A hasher whose calls wait for each other runs `FairPasswordHasherContract` instead, which needs two
fixtures more.
"""

import asyncio
from collections.abc import Callable

from keyturn.domain.errors import HashingBusy
from keyturn.domain.secret import Secret
from keyturn.domain.source import Source, source_of
from keyturn.ports.passwords import PasswordHasher
from keyturn.testing.extra import pytest

HERE, THERE = source_of("192.0.2.1"), source_of("2001:db8::1")
CROWD = source_of("198.51.100.66")
QUEUE = 8
"""Calls that may wait in the hasher that `narrow` returns."""

PASSWORD = Secret("correct horse battery staple")

UNREADABLE_HASHES = {
    "nothing": "",
    "a dollar": "$",
    "dollars": "$$$$$",
    "the password itself": PASSWORD.reveal(),
    "bcrypt": "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
    "an unknown scheme": "$scheme$v=1$m=1$c2FsdHNhbHQ$aGFzaGhhc2g",
    "Argon2 without a hash": "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0c2FsdA$",
    "Argon2 that asks for 2 GiB": "$argon2id$v=19$m=2097152,t=1,p=4$c2FsdHNhbHQ$aGFzaGhhc2g",
    "Argon2 that asks for the world": "$argon2id$v=19$m=99999999999999999999,t=1,p=4$c2E$aGE",
    "numbers without end": "$argon2id$v=19$m=" + "9" * 10_000 + ",t=1,p=1$c2E$aGE",
    "not ASCII": "$argon2id$v=19$m=8,t=1,p=1$сольсоль$хэшхэш",
    "a lone surrogate": "\ud800",
    "a null byte": "\x00",
}


class PasswordHasherContract:
    """The contract of `PasswordHasher`."""

    @pytest.fixture
    def hasher(self) -> PasswordHasher:
        """Return the hasher to check."""
        raise NotImplementedError

    @pytest.fixture
    def retuned(self) -> PasswordHasher:
        """Return a hasher of the same make with other parameters."""
        raise NotImplementedError

    async def test_the_right_password_is_accepted(self, hasher: PasswordHasher) -> None:
        """What was hashed is verified."""
        assert (
            await hasher.verify(await hasher.hash(PASSWORD, source=HERE), PASSWORD, source=HERE)
            is True
        )

    @pytest.mark.parametrize(
        "wrong",
        [
            "",
            "correct horse battery stapl",
            "correct horse battery staple ",
            "Correct horse battery staple",
            "correct horse battery staple\x00",
        ],
    )
    async def test_a_wrong_password_is_refused(self, hasher: PasswordHasher, wrong: str) -> None:
        """Almost right is wrong: nothing is trimmed, cut or folded."""
        assert (
            await hasher.verify(
                await hasher.hash(PASSWORD, source=HERE), Secret(wrong), source=HERE
            )
            is False
        )

    async def test_the_last_of_a_thousand_characters_counts(self, hasher: PasswordHasher) -> None:
        """No password is truncated, as bcrypt does after 72 bytes."""
        password_hash = await hasher.hash(Secret("x" * 1023 + "y"), source=HERE)
        assert await hasher.verify(password_hash, Secret("x" * 1023 + "z"), source=HERE) is False
        assert await hasher.verify(password_hash, Secret("x" * 1023 + "y"), source=HERE) is True

    async def test_what_follows_a_null_byte_counts(self, hasher: PasswordHasher) -> None:
        """No C string ends a password early."""
        password_hash = await hasher.hash(Secret("correct\x00horse"), source=HERE)
        assert (
            await hasher.verify(password_hash, Secret("correct\x00battery"), source=HERE) is False
        )

    async def test_a_password_may_be_in_any_script(self, hasher: PasswordHasher) -> None:
        """Passwords are Unicode."""
        password = Secret("пароль 密码 🔑🔑🔑")
        assert (
            await hasher.verify(await hasher.hash(password, source=HERE), password, source=HERE)
            is True
        )

    async def test_two_hashes_of_one_password_differ(self, hasher: PasswordHasher) -> None:
        """Every hash has a salt of its own."""
        assert await hasher.hash(PASSWORD, source=HERE) != await hasher.hash(PASSWORD, source=HERE)

    async def test_a_hash_is_in_phc_format_without_the_password(
        self, hasher: PasswordHasher
    ) -> None:
        """A hash names its scheme and holds nothing of what was hashed."""
        password_hash = await hasher.hash(PASSWORD, source=HERE)
        assert password_hash.startswith("$")
        assert password_hash.isascii()
        assert PASSWORD.reveal() not in password_hash

    async def test_an_unknown_user_is_refused(self, hasher: PasswordHasher) -> None:
        """No hash means no user, and no password is right."""
        assert await hasher.verify(None, PASSWORD, source=HERE) is False

    @pytest.mark.parametrize("unreadable", UNREADABLE_HASHES.values(), ids=UNREADABLE_HASHES.keys())
    async def test_an_unreadable_hash_is_refused_and_wants_a_rehash(
        self, hasher: PasswordHasher, unreadable: str
    ) -> None:
        """What can't be read verifies nothing and raises nothing."""
        assert await hasher.verify(unreadable, PASSWORD, source=HERE) is False
        assert hasher.needs_rehash(unreadable) is True

    async def test_what_was_hashed_can_be_verified(
        self, hasher: PasswordHasher, retuned: PasswordHasher
    ) -> None:
        """A hash is known for one before anybody logs in with it."""
        assert hasher.can_verify(await hasher.hash(PASSWORD, source=HERE)) is True
        assert hasher.can_verify(await retuned.hash(PASSWORD, source=HERE)) is True

    @pytest.mark.parametrize(
        "unreadable",
        [text for name, text in UNREADABLE_HASHES.items() if name != "bcrypt"],
    )
    async def test_what_is_no_hash_is_known_for_none(
        self, hasher: PasswordHasher, unreadable: str
    ) -> None:
        """No account is imported with something that nobody could log in with."""
        assert hasher.can_verify(unreadable) is False

    async def test_a_damaged_hash_is_refused(self, hasher: PasswordHasher) -> None:
        """A hash that lost its end verifies nothing."""
        password_hash = await hasher.hash(PASSWORD, source=HERE)
        assert await hasher.verify(password_hash[:-4], PASSWORD, source=HERE) is False

    async def test_a_hash_of_today_needs_no_rehash(self, hasher: PasswordHasher) -> None:
        """What was just hashed is hashed well."""
        assert hasher.needs_rehash(await hasher.hash(PASSWORD, source=HERE)) is False

    async def test_a_hash_with_other_parameters_verifies_and_needs_a_rehash(
        self, hasher: PasswordHasher, retuned: PasswordHasher
    ) -> None:
        """A change of parameters locks nobody out and reaches everybody at their next login."""
        older = await retuned.hash(PASSWORD, source=HERE)
        assert await hasher.verify(older, PASSWORD, source=HERE) is True
        assert hasher.needs_rehash(older) is True

    async def test_verifications_at_the_same_time_do_not_disturb_each_other(
        self, hasher: PasswordHasher
    ) -> None:
        """Each call gets its own answer."""
        password_hash = await hasher.hash(PASSWORD, source=HERE)
        answers = await asyncio.gather(
            hasher.verify(password_hash, PASSWORD, source=HERE),
            hasher.verify(password_hash, Secret("wrong"), source=HERE),
            hasher.verify(None, PASSWORD, source=HERE),
            hasher.verify(password_hash, PASSWORD, source=HERE),
        )
        assert list(answers) == [True, False, False, True]


class FairPasswordHasherContract(PasswordHasherContract):
    """The contract of a `PasswordHasher` whose calls wait for each other."""

    @pytest.fixture
    def narrow(self) -> PasswordHasher:
        """Return a hasher that executes one call at a time, while `QUEUE` may wait.

        It must be executing a call, which ends when `release` is called.
        """
        raise NotImplementedError

    @pytest.fixture
    def release(self) -> Callable[[], None]:
        """Return what ends the call that the narrow hasher executes."""
        raise NotImplementedError

    async def test_a_crowd_of_one_source_delays_another_source_by_one_call(
        self, narrow: PasswordHasher, release: Callable[[], None]
    ) -> None:
        """Sources take turns, whoever came first and however many wait."""
        ended: list[str] = []
        calls = [(CROWD, "crowd")] * (QUEUE - 3) + [(HERE, "here"), (THERE, "there")]
        tasks = [await waiting(narrow, *call, ended) for call in [*calls, (HERE, "here")]]
        release()
        await asyncio.gather(*tasks)
        assert ended == ["crowd", "here", "there", "crowd", "here", "crowd", "crowd", "crowd"]

    async def test_in_a_full_queue_the_newest_call_of_the_source_with_the_most_gives_way(
        self, narrow: PasswordHasher, release: Callable[[], None]
    ) -> None:
        """A newcomer is turned away only where no source has more calls than it would have."""
        ended: list[str] = []
        crowd = [await waiting(narrow, CROWD, "crowd", ended) for _ in range(QUEUE)]
        others = [await waiting(narrow, each, "other", ended) for each in (HERE, THERE)]
        with pytest.raises(HashingBusy):
            await narrow.verify(None, PASSWORD, source=CROWD)
        release()
        outcomes = await asyncio.gather(*crowd, return_exceptions=True)
        await asyncio.gather(*others)
        assert [isinstance(outcome, HashingBusy) for outcome in outcomes] == [False] * 6 + [
            True
        ] * 2

    async def test_a_queue_of_many_sources_turns_a_newcomer_away(
        self, narrow: PasswordHasher, release: Callable[[], None]
    ) -> None:
        """Nobody who waits with one call loses the place to somebody else."""
        ended: list[str] = []
        sources = [source_of(f"192.0.2.{number}") for number in range(QUEUE)]
        tasks = [await waiting(narrow, source, "known", ended) for source in sources]
        with pytest.raises(HashingBusy):
            await narrow.hash(PASSWORD, source=THERE)
        release()
        await asyncio.gather(*tasks)
        assert ended == ["known"] * QUEUE

    async def test_a_cancelled_call_leaves_the_queue(
        self, narrow: PasswordHasher, release: Callable[[], None]
    ) -> None:
        """A client that hangs up keeps no place, and nothing is computed for it."""
        ended: list[str] = []
        crowd = [await waiting(narrow, CROWD, "crowd", ended) for _ in range(QUEUE)]
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        tasks = [await waiting(narrow, HERE, "here", ended) for _ in range(QUEUE)]
        release()
        await asyncio.gather(*tasks)
        assert ended == ["here"] * QUEUE


async def waiting(
    hasher: PasswordHasher, source: Source, name: str, ended: list[str]
) -> asyncio.Task[None]:
    """Begin a call that notes its end in `ended`, and return when it waits."""

    async def call() -> None:
        await hasher.verify(None, PASSWORD, source=source)
        ended.append(name)

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    return task
