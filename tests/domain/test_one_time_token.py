"""What a link in a mail is good for."""

from dataclasses import replace
from datetime import timedelta

import pytest

from keyturn.domain.one_time_token import (
    OneTimeToken,
    OneTimeTokenPolicy,
    TokenPurpose,
    digest_of,
)
from keyturn.domain.secret import Secret
from keyturn.domain.user import User
from keyturn.testing.builders import make_user
from keyturn.testing.doubles import START

USER = make_user()
TOKEN = OneTimeToken(
    digest=digest_of(Secret("a token")),
    purpose=TokenPurpose.RESET_PASSWORD,
    user_id=USER.id,
    email=USER.email,
    credentials_version=USER.credentials_version,
    created_at=START,
    expires_at=START + timedelta(minutes=30),
)


def test_a_token_is_good_for_its_purpose_its_user_and_its_time() -> None:
    just_before = TOKEN.expires_at - timedelta(microseconds=1)
    assert TOKEN.is_good_for(TokenPurpose.RESET_PASSWORD, USER, just_before)


@pytest.mark.parametrize(
    "purpose", [p for p in TokenPurpose if p is not TokenPurpose.RESET_PASSWORD]
)
def test_a_token_is_good_for_nothing_else(purpose: TokenPurpose) -> None:
    assert not TOKEN.is_good_for(purpose, USER, START)


@pytest.mark.parametrize(
    "user",
    [
        make_user(2, email=USER.email),
        USER.with_password("another hash", START),
        USER.with_email("new@example.com", START),
        replace(USER, email="moved@example.com"),
    ],
    ids=["another user", "new password", "new address", "another address"],
)
def test_a_token_is_void_for_another_user_password_or_address(user: User) -> None:
    assert not TOKEN.is_good_for(TokenPurpose.RESET_PASSWORD, user, START)


def test_a_token_is_void_at_its_end() -> None:
    assert not TOKEN.is_good_for(TokenPurpose.RESET_PASSWORD, USER, TOKEN.expires_at)


def test_a_role_change_or_a_login_leaves_a_token_good() -> None:
    user = USER.logged_in(START, password_hash="rehashed").logged_out_everywhere(START)
    assert TOKEN.is_good_for(TokenPurpose.RESET_PASSWORD, user, START)


def test_a_token_shows_neither_text_nor_digest() -> None:
    assert TOKEN.digest not in repr(TOKEN)
    assert "a token" not in repr(TOKEN)


@pytest.mark.parametrize("hostile", ["", "\ud800", "\x00", "a" * 10_000])
def test_whatever_is_presented_has_a_digest(hostile: str) -> None:
    assert len(digest_of(Secret(hostile))) == 64


@pytest.mark.parametrize(
    "lifetimes",
    [
        {"reset_ttl": timedelta(minutes=4)},
        {"reset_ttl": timedelta(days=2)},
        {"verification_ttl": timedelta(0)},
        {"verification_ttl": timedelta(days=8)},
    ],
)
def test_links_live_neither_too_short_nor_too_long(lifetimes: dict[str, timedelta]) -> None:
    with pytest.raises(ValueError, match="must live"):
        OneTimeTokenPolicy(**lifetimes)
