"""The `Authorization` header and the challenge that answers it (RFC 6750), in plain ASGI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from keyturn.domain.errors import InvalidAccessToken, KeyturnError
from keyturn.domain.secret import Secret

# A service that only verifies tokens may have no web framework installed.
if TYPE_CHECKING:
    from starlette.types import Scope

_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)


def presented_access_token(scope: Scope) -> Secret | None:
    """Return the token of the `Authorization` header, None without one (RFC 6750 §2.1).

    Raises:
        InvalidAccessToken: there is more than one header, another scheme, or what can't be a
            token. RFC 6750 would have some of these answered with 400, but nginx turns any
            refusal of its `auth_request` that is not a 401 or 403 into a 500.
    """
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values:
        return None
    found = _BEARER.fullmatch(values[0].strip()) if len(values) == 1 else None
    if found is None:
        raise InvalidAccessToken
    return Secret(found[1].decode("ascii"))


def challenge(error: type[KeyturnError] | None = None, code: str = "invalid_token") -> str:
    """Return the `WWW-Authenticate` of RFC 6750 §3, without an error if nothing was presented."""
    told = 'Bearer realm="keyturn"'
    if error is None:
        return told
    return f'{told}, error="{code}", error_description="{error.message}"'
