"""The ids by which one request is found again in answers, logs and the audit trail."""

import os
import re

from starlette.types import Scope

FROM_TRUSTED_PROXY = "keyturn.from_trusted_proxy"
"""The key of the scope that says that a trusted proxy sent the request."""

_SCOPE_KEY = "keyturn.request_id"
_SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def request_id(scope: Scope) -> str:
    """Return the id of a request: 128 random bits in hex, always made here.

    The same request always gets the same id. An id that the client chose would let it write over
    its traces, by giving its requests the id of others.
    """
    known: str | None = scope.get(_SCOPE_KEY)
    if known is None:
        known = scope[_SCOPE_KEY] = os.urandom(16).hex()
    return known


def client_request_id(scope: Scope) -> str | None:
    """Return the `X-Request-ID` that a trusted proxy sent, None for none.

    It has up to 128 letters, digits, dots, dashes and underscores, because it is written to logs.
    """
    if not scope.get(FROM_TRUSTED_PROXY):
        return None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE.fullmatch(value):
            return bytes(value).decode("ascii")
    return None


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return the first header of this lower-case name, None without one."""
    for found, value in scope["headers"]:
        if found == name:
            return bytes(value).decode("latin-1")
    return None
