"""What a verified caller holds."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.principal import Principal


def principal(permissions: frozenset[str] | None, scope: frozenset[str] | None) -> Principal:
    return Principal(
        UserId(UUID(int=1)),
        FamilyId(UUID(int=2)),
        TokenId(UUID(int=3)),
        "keyturn",
        "https://notes.example",
        0,
        frozenset({"admin"}),
        permissions,
        scope,
        datetime(2030, 1, 1, tzinfo=UTC),
        datetime(2030, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("permissions", "scope", "may"),
    [
        (frozenset({"a:b"}), None, True),
        (frozenset({"a:b"}), frozenset({"a:b", "c:d"}), True),
        (frozenset({"a:b"}), frozenset({"c:d"}), False),
        (frozenset({"a:b"}), frozenset[str](), False),
        (frozenset({"c:d"}), frozenset({"a:b"}), False),
        (None, None, False),
        (None, frozenset({"a:b"}), False),
    ],
)
def test_a_permission_must_be_told_and_within_the_scope(
    permissions: frozenset[str] | None, scope: frozenset[str] | None, may: bool
) -> None:
    assert principal(permissions, scope).has_permission("a:b") is may


def test_a_token_of_limited_scope_has_no_role() -> None:
    assert principal(None, None).has_role("admin")
    assert not principal(None, None).has_role("user")
    assert not principal(frozenset({"a:b"}), frozenset({"a:b"})).has_role("admin")
