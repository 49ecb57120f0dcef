"""Which passwords are too common."""

import asyncio

import pytest

from keyturn.adapters.zxcvbn.blocklist import CommonPasswords
from keyturn.domain.secret import Secret


@pytest.fixture(scope="module")
def blocklist() -> CommonPasswords:
    return CommonPasswords()


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "PASSWORD",
        "PassWord",
        "qwertyuiop",
        "thecakeisalie",
        "1qaz2wsx3edc4rfv",
        "passwordpassword",
        "PasswordPASSWORD",
        "iloveyouiloveyou",
        "aaaaaaaaaaaaaaa",
        "abcabcabcabcabc",
        "abcabcabcabcabcab",
        "123123123123123",
        "qwertyqwertyqwerty",
        "abc123abc123abc123",
        "!!!!!!!!!!!!!!!!",
        "               ",
        "ééééééééééééééé",
        "🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑",
        "123456789012345",
        "012345678901234",
        "987654321098765",
        "abcdefghijklmno",
        "ABCDEFGHIJKLMNO",
        "zyxwvutsrqponml",
        "lmnopqrstuvwxyzabc",
        "qwertyuiopasdfg",
        "poiuytrewqmnbvc",
        "asdfghjklzxcvbnm",
        "qwertzuiopasdfgh",
        "azertyuiopqsdfgh",
        "1q2w3e4r5t6y7u8i",
        "1qaz2wsx3edc4rfv5tgb",
        "password12345678",
        "password!!!!!!!!",
        "2024!!! Password",
        "  password1234567  ",
        "passwordpassword1",
        "abcdefghijklmno!",
    ],
)
async def test_a_common_password_is_refused(blocklist: CommonPasswords, password: str) -> None:
    assert await blocklist.contains(Secret(password)) is True


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "correct horse battery staple",
        "correcthorsecorrecthorse",
        "tyger tyger burning bright",
        "k8#vR2!mQz7@wLp4",
        "3141592653589793238",
        "abcdefgxhijklmno",
        "пароль длиной в полсотни знаков",
        "\x00\ud800 unfit for anything",
    ],
)
async def test_an_uncommon_password_is_accepted(blocklist: CommonPasswords, password: str) -> None:
    assert await blocklist.contains(Secret(password)) is False


async def test_nothing_is_read_before_the_first_question() -> None:
    assert CommonPasswords()._listed is None


async def test_the_list_holds_thousands_of_passwords_of_eight_characters_and_more(
    blocklist: CommonPasswords,
) -> None:
    await blocklist.contains(Secret("any"))
    assert blocklist._listed is not None
    assert len(blocklist._listed) > 10_000
    assert min(map(len, blocklist._listed)) == 8


async def test_first_questions_at_the_same_time_are_all_answered() -> None:
    blocklist = CommonPasswords()
    answers = await asyncio.gather(*(blocklist.contains(Secret("baseball")) for _ in range(5)))
    assert answers == [True] * 5
