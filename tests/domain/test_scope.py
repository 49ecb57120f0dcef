"""A scope limits, and a refresh never widens it."""

import pytest

from keyturn.domain.errors import InvalidScope
from keyturn.domain.scope import granted_scope, narrowed_scope

MAY = frozenset({"profile:read", "profile:write"})
READ = frozenset({"profile:read"})


def test_no_scope_means_no_limit() -> None:
    assert granted_scope(None, MAY) is None
    assert narrowed_scope(None, None, MAY) is None


def test_a_login_is_granted_what_its_user_may_do_of_the_scope() -> None:
    assert granted_scope(READ | {"users:write"}, MAY) == READ


@pytest.mark.parametrize("requested", [frozenset[str](), frozenset({"users:write"})])
def test_a_login_that_would_be_granted_nothing_is_refused(requested: frozenset[str]) -> None:
    with pytest.raises(InvalidScope):
        granted_scope(requested, MAY)


def test_a_refresh_without_a_scope_keeps_what_was_granted() -> None:
    assert narrowed_scope(READ, None, MAY) == READ


def test_a_refresh_may_narrow() -> None:
    assert narrowed_scope(MAY, READ, MAY) == READ
    assert narrowed_scope(None, READ, MAY) == READ


@pytest.mark.parametrize(
    ("granted", "requested"),
    [(READ, MAY), (None, MAY | {"users:write"}), (MAY, frozenset[str]())],
)
def test_a_refresh_never_widens(granted: frozenset[str] | None, requested: frozenset[str]) -> None:
    with pytest.raises(InvalidScope):
        narrowed_scope(granted, requested, MAY)


def test_a_scope_that_no_token_holds_is_refused() -> None:
    long = frozenset(f"posts:{number:064}" for number in range(20))
    with pytest.raises(InvalidScope):
        granted_scope(long, long)
    with pytest.raises(InvalidScope):
        narrowed_scope(None, long, long)
