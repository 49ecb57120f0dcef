"""What a new password is asked, and in which order."""

import pytest

from keyturn.domain.errors import (
    InvalidInput,
    PasswordBreached,
    PasswordNotText,
    PasswordTooCommon,
    PasswordTooLong,
    PasswordTooPersonal,
    PasswordTooShort,
)
from keyturn.domain.policies import PasswordPolicy
from keyturn.domain.secret import Secret
from keyturn.ports.passwords import BreachedPasswords
from keyturn.testing.doubles import FixedBlocklist
from keyturn.testing.in_memory import ADA, InMemoryKeyturn
from keyturn.use_cases.new_password import NewPasswordRules

GOOD = "correct horse battery staple"
LISTED = "a very common password"
BREACHED = "a password of last year"


class FixedBreaches(BreachedPasswords):
    """Knows one password, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def contains(self, password: Secret) -> bool:
        self.asked.append(password.reveal())
        return password.reveal() == BREACHED


@pytest.fixture
def breaches() -> FixedBreaches:
    return FixedBreaches()


@pytest.fixture
def rules(breaches: FixedBreaches) -> NewPasswordRules:
    return NewPasswordRules(PasswordPolicy(), FixedBlocklist(LISTED), breaches, "Example Notes")


async def test_a_good_password_comes_back_normalised(
    rules: NewPasswordRules, breaches: FixedBreaches
) -> None:
    assert (await rules.accept(Secret("cafe\u0301 " + GOOD), email=ADA)).reveal() == f"café {GOOD}"
    assert breaches.asked == [f"café {GOOD}"]


@pytest.mark.parametrize(
    ("password", "refusal"),
    [
        ("\x00" * 20, PasswordNotText),
        ("short", PasswordTooShort),
        ("x" * 1025, PasswordTooLong),
        ("example notes 2024!", PasswordTooPersonal),
        ("ada@example.com 1815", PasswordTooPersonal),
        (LISTED, PasswordTooCommon),
    ],
)
async def test_nobody_else_is_asked_about_a_password_that_is_refused_here(
    rules: NewPasswordRules,
    breaches: FixedBreaches,
    password: str,
    refusal: type[InvalidInput],
) -> None:
    with pytest.raises(refusal):
        await rules.accept(Secret(password), email=ADA)
    assert breaches.asked == []


async def test_a_breached_password_is_refused(rules: NewPasswordRules) -> None:
    with pytest.raises(PasswordBreached):
        await rules.accept(Secret(BREACHED), email=ADA)


async def test_without_an_address_only_the_name_of_the_service_counts(
    rules: NewPasswordRules,
) -> None:
    await rules.accept(Secret("lovelace lovelace"))
    with pytest.raises(PasswordTooPersonal):
        await rules.accept(Secret("lovelace lovelace"), email="lovelace@example.com")
    with pytest.raises(PasswordTooPersonal):
        await rules.accept(Secret("12345 example 12345"))


async def test_the_service_is_called_keyturn_unless_it_says_otherwise() -> None:
    rules = NewPasswordRules(PasswordPolicy(), FixedBlocklist())
    with pytest.raises(PasswordTooPersonal):
        await rules.accept(Secret("keyturn-2026-keyturn"))


async def test_all_objections_are_told_at_once(
    rules: NewPasswordRules, breaches: FixedBreaches
) -> None:
    assert await rules.objections(Secret(GOOD), email=ADA) == ()
    assert await rules.objections(Secret("notes1"), email=ADA) == (
        "password_too_short",
        "password_too_personal",
    )
    assert await rules.objections(Secret(LISTED)) == ("password_too_common",)
    assert await rules.objections(Secret("x" * 1025)) == ("password_too_long",)
    assert await rules.objections(Secret("\x00")) == ("password_not_text",)
    assert await rules.objections(Secret(BREACHED)) == ()
    assert breaches.asked == []


async def test_who_registers_may_not_make_a_password_of_the_address() -> None:
    keyturn = InMemoryKeyturn()
    with pytest.raises(PasswordTooPersonal):
        await keyturn.register("lovelace@example.com", Secret("lovelace-1815-12-10"))
    assert keyturn.store.users == {}
