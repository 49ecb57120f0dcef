"""Passwords that are made of who somebody is and where they are."""

import pytest

from keyturn.domain.policies import context_words, is_too_personal
from keyturn.domain.secret import Secret

EMAIL = "Ada.Lovelace+notes@Mail.Analytical-Engine.co.uk"
WORDS = context_words("Keyturn Cloud", EMAIL)


def test_the_words_are_the_address_the_service_the_local_part_and_the_domain_and_their_parts() -> (
    None
):
    assert set(WORDS) == {
        EMAIL.casefold(),
        *("keyturn cloud", "keyturn", "cloud"),
        *("ada.lovelace+notes", "lovelace", "notes"),
        *("mail.analytical-engine.co", "mail", "analytical", "engine"),
    }


def test_the_longest_word_comes_first_so_that_nothing_of_it_is_left() -> None:
    assert list(map(len, WORDS)) == sorted(map(len, WORDS), reverse=True)


def test_words_of_three_characters_and_last_labels_do_not_count() -> None:
    assert context_words("app", "ada@example.info") == ("ada@example.info", "example")


@pytest.mark.parametrize("email", [None, "", "@", "@@", "no address", "a@b", "ada@" + "x." * 500])
def test_whatever_is_given_as_an_address_is_no_error(email: str | None) -> None:
    assert "keyturn" in context_words("keyturn", email)


@pytest.mark.parametrize(
    "password",
    [
        "keyturn-keyturn-keyturn",
        "KEYTURN!!!2024!!!2025",
        "ada.lovelace@1815-12-10",
        "lovelace 1815 lovelace",
        "123456789 engine 987654321",
        "my-analytical-engine",
        "ada.lovelace+notes@mail",
        "LoveLaceKeyturnCloud1",
    ],
)
def test_a_password_of_which_little_is_left_is_too_personal(password: str) -> None:
    assert is_too_personal(Secret(password), WORDS)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "correct keyturn horse",
        "lovelace likes long walks",
        "123456789012345",
        "!!!!!!!!!!!!!!!",
        "love lace for the engineers",
        "",
    ],
)
def test_a_password_without_such_words_or_with_enough_besides_is_not(password: str) -> None:
    assert not is_too_personal(Secret(password), WORDS)


def test_case_and_composition_make_no_difference() -> None:
    words = context_words("keyturn", "JOSÉPHINE@example.com")
    for password in ("joséphine-1234567", "jose\u0301phine-1234567", "JOSÉPHINE-1234567"):
        assert is_too_personal(Secret(password), words)


def test_eight_characters_besides_are_enough_and_seven_are_not() -> None:
    assert is_too_personal(Secret("keyturn abcdefg"), ("keyturn",))
    assert not is_too_personal(Secret("keyturn abcdefgh"), ("keyturn",))


def test_what_means_something_in_a_pattern_is_taken_as_it_is() -> None:
    words = context_words("a(b*c|.+", "x[y]{9}^$@example.com")
    assert is_too_personal(Secret("a(b*c|.+ 1234567890"), words)
    assert not is_too_personal(Secret("correct horse battery staple"), words)


def test_without_words_nothing_is_too_personal() -> None:
    assert not is_too_personal(Secret("keyturn keyturn"), ())
