"""What a user is, and what each change moves."""

from datetime import UTC, datetime

import pytest

from keyturn.domain.errors import InvalidEmail
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, Role, UserStatus, canonical_email
from keyturn.testing.builders import make_user

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_spellings_of_one_address_have_one_canonical_form() -> None:
    spellings = ["Ada@Example.COM", "ada@example.com", "ADA@EXAMPLE.com"]
    assert {canonical_email(spelling) for spelling in spellings} == {"ada@example.com"}


def test_composed_and_decomposed_addresses_have_one_canonical_form() -> None:
    assert canonical_email("zoe\u0308@example.com") == canonical_email("ZO\u00cb@example.com")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "a da@example.com",
        "ada@example.com\x00",
        "\ud800a@b.c",
        "ada\n@example.com",
        "a" * 250 + "@b.cd",
    ],
)
def test_what_cannot_be_an_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidEmail):
        canonical_email(text)


def test_every_change_moves_the_version_by_one() -> None:
    user = make_user()
    changes = [
        user.logged_in(NOW, password_hash=user.password_hash),
        user.with_password("new", NOW),
        user.with_display_name("Ada", NOW),
        user.with_status(UserStatus.DISABLED, NOW),
        user.with_roles(frozenset({ADMIN_ROLE}), NOW),
        user.logged_out_everywhere(NOW),
    ]
    assert {changed.version for changed in changes} == {user.version + 1}


def test_the_epoch_moves_with_what_must_kill_older_access_tokens_and_with_nothing_else() -> None:
    user = make_user()
    killing = [
        user.with_password("new", NOW),
        user.with_status(UserStatus.DISABLED, NOW),
        user.with_roles(frozenset({ADMIN_ROLE}), NOW),
        user.logged_out_everywhere(NOW),
    ]
    harmless = [user.logged_in(NOW, password_hash="h"), user.with_display_name("Ada", NOW)]
    assert {changed.epoch for changed in killing} == {user.epoch + 1}
    assert {changed.epoch for changed in harmless} == {user.epoch}


def test_the_permissions_are_those_of_all_roles() -> None:
    writer = Role("writer", frozenset({"posts:write"}))
    user = make_user().with_roles(frozenset({USER_ROLE, writer}), NOW)
    assert user.permissions == USER_ROLE.permissions | {"posts:write"}
    assert user.role_names == {"user", "writer"}


def test_a_user_does_not_print_its_password_hash_or_address() -> None:
    user = make_user()
    assert user.password_hash not in repr(user)
    assert user.email not in repr(user)
