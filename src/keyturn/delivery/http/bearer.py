"""The `Authorization` header and the challenge that answers it (RFC 6750, 9449), in plain ASGI."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keyturn.domain.errors import InvalidAccessToken, KeyturnError
from keyturn.domain.secret import Secret
from keyturn.ports.proofs import Proof

# A service that only verifies tokens may have no web framework installed.
if TYPE_CHECKING:
    from starlette.types import Scope

# Only the scheme is without regard to case: folding a long token costs five times more.
_TOKEN = re.compile(rb"((?i:bearer|dpop)) +([A-Za-z0-9._~+/=-]+)")

PROOF_ALGORITHMS = ("ES256", "EdDSA", "Ed25519", "RS256")
"""What clients may sign proofs with, as challenges and metadata name it (RFC 9449 §5.1)."""


@dataclass(frozen=True, slots=True)
class PresentedAccess:
    """What the `Authorization` header holds.

    Attributes:
        proof: None where the token is presented as a bearer token. Where the scheme is DPoP and
            the proof is missing, its text is empty.
    """

    token: Secret
    proof: Proof | None


def presented_access_token(scope: Scope, url_of: Callable[[Scope], str]) -> PresentedAccess | None:
    """Return the token of the `Authorization` header, None without one.

    RFC 6750 §2.1 and RFC 9449 §7.1.

    Args:
        url_of: where clients find what a request asks for; called where there is a proof.

    Raises:
        InvalidAccessToken: there is more than one header, another scheme, or what can't be a
            token. RFC 6750 would have some of these answered with 400, but nginx turns any
            refusal of its `auth_request` that is not a 401 or 403 into a 500.
    """
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values:
        return None
    found = _TOKEN.fullmatch(values[0].strip()) if len(values) == 1 else None
    if found is None:
        raise InvalidAccessToken
    token = Secret(found[2].decode("ascii"))
    if found[1].lower() == b"bearer":
        return PresentedAccess(token, None)
    proof = presented_proof(scope, url_of) or Proof(Secret(""), _method(scope), url_of(scope))
    return PresentedAccess(token, proof)


def presented_proof(scope: Scope, url_of: Callable[[Scope], str]) -> Proof | None:
    """Return the `DPoP` header as a proof, None without one (RFC 9449 §4.1).

    More than one are joined into a text that is none.
    """
    values = [value for name, value in scope["headers"] if name == b"dpop"]
    if not values:
        return None
    return Proof(Secret(b",".join(values).decode("latin-1")), _method(scope), url_of(scope))


def uses_dpop(scope: Scope) -> bool:
    """Whether the request presents an access token with the scheme DPoP."""
    return any(
        name == b"authorization" and value[:5].lower() == b"dpop "
        for name, value in scope["headers"]
    )


def _method(scope: Scope) -> str:
    method: str = scope.get("method", "GET")  # a WebSocket opens with GET
    return method


def dpop_challenge(error: type[KeyturnError] | None = None, code: str = "invalid_token") -> str:
    """Return the `WWW-Authenticate` of RFC 9449 §7.1, without an error if nothing was presented."""
    told = f'{challenge(error, code)}, algs="{" ".join(PROOF_ALGORITHMS)}"'
    return told.replace("Bearer", "DPoP", 1)


def challenge(error: type[KeyturnError] | None = None, code: str = "invalid_token") -> str:
    """Return the `WWW-Authenticate` of RFC 6750 §3, without an error if nothing was presented."""
    told = 'Bearer realm="keyturn"'
    if error is None:
        return told
    return f'{told}, error="{code}", error_description="{error.message}"'
