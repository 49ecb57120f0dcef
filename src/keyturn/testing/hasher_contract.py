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
"""

import asyncio

import pytest

from keyturn.domain.secret import Secret
from keyturn.domain.source import source_of
from keyturn.ports.passwords import PasswordHasher

HERE, THERE = source_of("192.0.2.1"), source_of("2001:db8::1")
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
