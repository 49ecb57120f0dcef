"""Which part of a user's permissions a session or a token is limited to (RFC 6749 §3.3)."""

from keyturn.domain.errors import InvalidScope

Scope = frozenset[str] | None
"""Permission names, or None for no limit."""


def granted_scope(requested: Scope, permissions: frozenset[str]) -> Scope:
    """Return what a login is granted of the scope it asks for: what its user may do of it.

    Raises:
        InvalidScope: nothing is left.
    """
    if requested is None:
        return None
    granted = requested & permissions
    if not granted:
        raise InvalidScope
    return granted


def narrowed_scope(granted: Scope, requested: Scope, permissions: frozenset[str]) -> Scope:
    """Return what a refresh is limited to: never more than was granted (RFC 6749 §6).

    Args:
        granted: what the login was granted, None for all that the user may do.
        requested: what the refresh asks for, None for all that was granted.
        permissions: what the user may do now.

    Raises:
        InvalidScope: the request is empty or exceeds what was granted.
    """
    if requested is None:
        return granted
    if not requested or not requested <= (permissions if granted is None else granted):
        raise InvalidScope
    return requested
