"""The stand-ins keep the same contracts as the adapters that they stand for."""

from datetime import timedelta

import pytest

from keyturn.domain.secret import Secret
from keyturn.testing.codec_contract import TokenCodecContract
from keyturn.testing.doubles import (
    START,
    FixedBlocklist,
    ManualClock,
    NoBlocklist,
    OpaqueTokenCodec,
    PlainPasswordHasher,
    SequentialIds,
)
from keyturn.testing.hasher_contract import PasswordHasherContract


class TestOpaqueTokenCodec(TokenCodecContract):
    @pytest.fixture
    def codec(self) -> OpaqueTokenCodec:
        return OpaqueTokenCodec()

    @pytest.fixture
    def stranger(self) -> OpaqueTokenCodec:
        return OpaqueTokenCodec()


class TestPlainPasswordHasher(PasswordHasherContract):
    @pytest.fixture
    def hasher(self) -> PlainPasswordHasher:
        return PlainPasswordHasher()

    @pytest.fixture
    def retuned(self) -> PlainPasswordHasher:
        return PlainPasswordHasher(rounds=2)

    async def test_every_verification_is_counted_an_unknown_users_too(self) -> None:
        hasher = PlainPasswordHasher()
        await hasher.verify(None, Secret("anything"))
        await hasher.verify(await hasher.hash(Secret("anything")), Secret("anything"))
        assert hasher.verifications == 2


def test_two_opaque_codecs_with_one_key_read_each_others_tokens() -> None:
    assert OpaqueTokenCodec(b"k")._mac(b"body") == OpaqueTokenCodec(b"k")._mac(b"body")


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock()
    assert clock.now() == clock.now() == START
    assert clock.now().utcoffset() == timedelta(0)


def test_a_manual_clock_goes_where_it_is_told_even_backwards() -> None:
    clock = ManualClock()
    clock.advance(timedelta(seconds=90))
    assert clock.now() - START == timedelta(seconds=90)
    clock.advance(timedelta(seconds=-100))
    assert clock.now() < START
    clock.set(START)
    assert clock.now() == START


def test_sequential_ids_never_repeat_across_kinds() -> None:
    ids = SequentialIds()
    made = [ids.user_id(), ids.user_id(), ids.family_id(), ids.token_id(), ids.token_id()]
    assert len(set(made)) == 5
    assert str(made[0]) == "10000000-0000-0000-0000-000000000001"


async def test_an_empty_blocklist_refuses_nothing() -> None:
    assert await NoBlocklist().contains(Secret("password")) is False


async def test_a_fixed_blocklist_refuses_what_it_was_given_in_any_case() -> None:
    blocklist = FixedBlocklist("Password of the Year")
    assert await blocklist.contains(Secret("password OF the year")) is True
    assert await blocklist.contains(Secret("another password")) is False
