"""Which OAuth client asks, and what it says in a form (RFC 6749 §2.3, §3.2)."""

import base64
import binascii
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request
from fastapi.openapi.models import HTTPBase
from fastapi.security.base import SecurityBase

from keyturn.delivery.http.dependencies import options_of, services_of
from keyturn.delivery.http.errors import InvalidTokenRequest
from keyturn.domain.client import Client
from keyturn.domain.errors import InvalidClient, InvalidTarget
from keyturn.domain.refresh_token_family import DEFAULT_CLIENT_ID
from keyturn.domain.secret import Secret

FORM = "application/x-www-form-urlencoded"
"""The media type of everything that is posted under `/oauth/`."""

MAY_PROVE_CLIENT: dict[str, object] = {"security": [{}]}
"""The `openapi_extra` of a route that a `ClientScheme` stands before and public clients use too."""

_MAX_PARAMETERS = 50
_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


class ClientScheme(SecurityBase):
    """What OpenAPI says about clients with a secret; asks nothing of a request by itself."""

    def __init__(self) -> None:
        self.scheme_name = "Client"
        self.model = HTTPBase(
            scheme="basic", description="An OAuth client's id and secret (client_secret_basic)."
        )

    async def __call__(self, request: Request) -> None:
        """Leave it to the route: an error about the form comes first."""


async def form_of(request: Request) -> dict[str, str]:
    """Return the parameters of the form; one without a value counts as omitted (RFC 6749 §3.2).

    Read here and not by a form parser: those take bad UTF-8 for something else, and keep one of
    two parameters of the same name.

    Raises:
        InvalidTokenRequest: the body is no form in UTF-8, or a parameter is repeated.
        InvalidTarget: the parameter `resource` is repeated. RFC 8707 §2 allows that; a token here
            is for one resource.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0]
    if content_type.strip().lower() != FORM:
        raise InvalidTokenRequest(f"The body must be a form: Content-Type: {FORM}.")
    body = await request.body()
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        raise InvalidTokenRequest("The body is not a form in UTF-8.") from None
    parameters = dict(pairs)
    if sum(name == "resource" for name, _ in pairs) > 1:
        raise InvalidTarget
    if len(parameters) != len(pairs):
        raise InvalidTokenRequest("A parameter is repeated.")
    return {name: value for name, value in parameters.items() if value}


def required(parameters: Mapping[str, str], name: str) -> str:
    """Return the value of a parameter.

    Raises:
        InvalidTokenRequest: it is missing.
    """
    value = parameters.get(name)
    if value is None:
        raise InvalidTokenRequest(f"The parameter {name} is missing.")
    return value


async def client_of(request: Request, parameters: Mapping[str, str] = _NO_PARAMETERS) -> Client:
    """Return the client that asks: who names none is `keyturn` (RFC 6749 §2.3, §3.2.1).

    A secret counts in the `Authorization` header alone: forms end up in more logs.

    Raises:
        InvalidTokenRequest: the header and the form name two clients.
        InvalidClient: the client is unknown, its secret is wrong or missing, or a public one
            sends any.
        StoreUnavailable: the clients can't be read.
    """
    in_header, secret = _basic_credentials(request)
    in_form = parameters.get("client_id")
    if in_header and in_form and in_header != in_form:
        raise InvalidTokenRequest("The client is named twice, and not alike.")
    if "client_secret" in parameters or (secret and not in_header):
        raise InvalidClient
    client_id = in_header or in_form or DEFAULT_CLIENT_ID
    if not secret and client_id in options_of(request).public_clients:
        return Client(client_id)
    return await services_of(request).authenticate_client.execute(
        client_id, Secret(secret) if secret else None
    )


def _basic_credentials(request: Request) -> tuple[str, str]:
    """Return client id and secret of the `Authorization` header; empty ones without a header.

    Swagger UI sends both empty (`Og==`), which counts as no client.
    """
    headers = request.headers.getlist("authorization")
    if not headers:
        return "", ""
    scheme, _, encoded = headers[0].strip().partition(" ")
    if len(headers) > 1 or scheme.lower() != "basic":
        raise InvalidClient
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise InvalidClient from None
    client_id, colon, secret = decoded.partition(":")
    if not colon:
        raise InvalidClient
    return unquote_plus(client_id), unquote_plus(secret)
