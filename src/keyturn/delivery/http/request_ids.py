"""The id by which one request is found again in answers and logs."""

import os
import re

from starlette.types import Scope

_SCOPE_KEY = "keyturn.request_id"
_SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def request_id(scope: Scope) -> str:
    """Return the request's id: the client's `X-Request-ID` if it is sane, else a new one.

    The same request always gets the same answer. Sane is up to 128 letters, digits, dots, dashes
    and underscores: it ends up in logs.
    """
    known: str | None = scope.get(_SCOPE_KEY)
    if known is None:
        known = scope[_SCOPE_KEY] = _sent_by_client(scope) or os.urandom(16).hex()
    return known


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return the first header of this lower-case name, None without one."""
    for found, value in scope["headers"]:
        if found == name:
            return bytes(value).decode("latin-1")
    return None


def _sent_by_client(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE.fullmatch(value):
            return bytes(value).decode("ascii")
    return None
