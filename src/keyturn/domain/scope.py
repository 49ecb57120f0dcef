"""Which part of a user's permissions a session or a token is limited to (RFC 6749 §3.3)."""

from keyturn.domain.errors import InvalidScope

Scope = frozenset[str] | None
"""Permission names, or None for no limit."""

MAX_SCOPE_LENGTH = 1024
"""Characters of a scope: it stands in the access token, which is sent in a header."""


def granted_scope(requested: Scope, permissions: frozenset[str]) -> Scope:
    """Return what a login is granted of the scope it asks for: what its user may do of it.

    Raises:
        InvalidScope: nothing is left, or more than a token holds.
    """
    if requested is None:
        return None
    granted = requested & permissions
    if not granted or _is_too_long(granted):
        raise InvalidScope
    return granted


def narrowed_scope(granted: Scope, requested: Scope, permissions: frozenset[str]) -> Scope:
    """Return what a refresh is limited to: never more than was granted (RFC 6749 §6).

    Args:
        granted: what the login was granted, None for all that the user may do.
        requested: what the refresh asks for, None for all that was granted.
        permissions: what the user may do now.

    Raises:
        InvalidScope: the request is empty, exceeds what was granted or what a token holds.
    """
    if requested is None:
        return granted
    if not requested or not requested <= (permissions if granted is None else granted):
        raise InvalidScope
    if _is_too_long(requested):
        raise InvalidScope
    return requested


def _is_too_long(scope: frozenset[str]) -> bool:
    return sum(len(name) + 1 for name in scope) > MAX_SCOPE_LENGTH
