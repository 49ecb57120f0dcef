"""The numbers that a deployment may choose, and the passwords that it accepts."""

import unicodedata
from datetime import timedelta

import pytest

from keyturn.domain.errors import PasswordNotText, PasswordTooLong, PasswordTooShort
from keyturn.domain.policies import PasswordPolicy, SessionPolicy
from keyturn.domain.secret import Secret


@pytest.mark.parametrize(
    "wrong",
    [
        {"access_ttl": timedelta(0)},
        {"idle_ttl": timedelta(minutes=15)},
        {"absolute_ttl": timedelta(days=6)},
        {"grace": timedelta(seconds=-1)},
        {"grace": timedelta(seconds=61)},
    ],
)
def test_a_session_policy_out_of_bounds_is_refused(wrong: dict[str, timedelta]) -> None:
    with pytest.raises(ValueError):
        SessionPolicy(**wrong)  # type: ignore[arg-type]  # the table holds timedeltas only


def test_a_session_policy_without_sessions_is_refused() -> None:
    with pytest.raises(ValueError):
        SessionPolicy(max_sessions=0)


def test_a_minimum_length_below_eight_is_refused() -> None:
    PasswordPolicy(min_length=8)
    with pytest.raises(ValueError):
        PasswordPolicy(min_length=7)


def test_a_maximum_length_that_hinders_long_passwords_is_refused() -> None:
    for maximum in (63, 14):
        with pytest.raises(ValueError):
            PasswordPolicy(max_length=maximum)


@pytest.mark.parametrize("length", [15, 1024])
def test_a_password_at_the_bounds_is_accepted_as_it_is(length: int) -> None:
    text = "p" * length
    assert PasswordPolicy().accept(Secret(text)).reveal() == text


def test_a_password_beyond_the_bounds_is_refused_and_never_cut() -> None:
    with pytest.raises(PasswordTooShort):
        PasswordPolicy().accept(Secret("p" * 14))
    with pytest.raises(PasswordTooLong):
        PasswordPolicy().accept(Secret("p" * 1025))


def test_a_length_is_counted_in_characters_after_nfc() -> None:
    decomposed = unicodedata.normalize("NFD", "é" * 14)
    with pytest.raises(PasswordTooShort):
        PasswordPolicy().accept(Secret(decomposed))
    accepted = PasswordPolicy().accept(Secret(unicodedata.normalize("NFD", "é" * 1024)))
    assert accepted.reveal() == "é" * 1024


def test_two_spellings_of_one_password_are_one() -> None:
    policy = PasswordPolicy()
    composed, decomposed = "caf\u00e9 au lait, please", "cafe\u0301 au lait, please"
    assert policy.normalise(Secret(composed)) == policy.normalise(Secret(decomposed))


def test_spaces_at_the_ends_and_every_script_are_kept() -> None:
    text = "  пароль 密码 🔑 is long  "
    assert PasswordPolicy().accept(Secret(text)).reveal() == text


@pytest.mark.parametrize("text", ["with a \x00 NUL inside it", "with a lone \ud800 surrogate"])
def test_what_is_not_text_is_refused(text: str) -> None:
    with pytest.raises(PasswordNotText):
        PasswordPolicy().normalise(Secret(text))


def test_a_megabyte_is_refused_before_it_is_normalised() -> None:
    with pytest.raises(PasswordTooLong):
        PasswordPolicy().normalise(Secret("\u0344" * 1024 * 1024))
