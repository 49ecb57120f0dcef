"""Entity tags of roles, by which a client says which version it has seen (RFC 9110 §8.8.3)."""

import hashlib
import json
import re
from collections.abc import Callable

from keyturn.domain.user import Role

_TAGS = re.compile(r'\s*(?:(?:W/)?"[^"]*"\s*(?:,\s*|$))+')
_STRONG_TAG = re.compile(r'(?<!W/)("[^"]*")')


def role_etag(role: Role) -> str:
    """Return the strong entity tag of a role.

    It depends on all of the role, not on its version alone: a role that was deleted and made again
    has the version of an earlier one.
    """
    parts = [role.name, role.version, sorted(role.permissions), sorted(role.assignable_by)]
    return f'"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"'


def seen_by(if_match: str | None) -> Callable[[Role | None], bool]:
    """Return what says whether a stored role is the one that `If-Match` names.

    Args:
        if_match: the header, None where it is missing: any role is accepted, or none. `*` accepts
            any that exists. A weak tag never matches, and a malformed header matches nothing.
    """
    if if_match is None:
        return lambda _: True
    if if_match.strip() == "*":
        return lambda role: role is not None
    tags = set(_STRONG_TAG.findall(if_match)) if _TAGS.fullmatch(if_match) else set()
    return lambda role: role is not None and role_etag(role) in tags
