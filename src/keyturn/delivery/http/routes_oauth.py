"""The token endpoint, for OAuth 2 clients and Swagger's Authorize button (RFC 6749)."""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote_plus

from fastapi import APIRouter, Request, Response

from keyturn.delivery.http.dependencies import options_of, origin_of, services_of
from keyturn.delivery.http.device_names import device_name
from keyturn.delivery.http.errors import (
    NO_STORE,
    BodyTooLarge,
    InvalidClient,
    InvalidTokenRequest,
    UnsupportedGrantType,
)
from keyturn.delivery.http.openapi import oauth_errors
from keyturn.delivery.http.schemas import OAuthTokens, known_email
from keyturn.domain.errors import (
    HashingBusy,
    InvalidCredentials,
    InvalidRefreshToken,
    InvalidScope,
    StoreUnavailable,
)
from keyturn.domain.refresh_token_family import DEFAULT_CLIENT_ID
from keyturn.domain.scope import Scope
from keyturn.domain.secret import Secret
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.rotate_refresh import RotateRefreshCommand
from keyturn.use_cases.token_pair import TokenPair

router = APIRouter(prefix="/oauth", tags=["OAuth 2"])

_FORM = "application/x-www-form-urlencoded"
_MAX_PARAMETERS = 50
_FORM_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            _FORM: {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"type": "string", "enum": ["password", "refresh_token"]},
                        "username": {"type": "string", "description": "The e-mail address."},
                        "password": {"type": "string", "format": "password"},
                        "refresh_token": {"type": "string", "format": "password"},
                        "scope": {
                            "type": "string",
                            "description": "Permissions, separated by spaces, that the tokens "
                            "are limited to.",
                        },
                        "client_id": {"type": "string", "default": DEFAULT_CLIENT_ID},
                    },
                },
                "examples": {
                    "password": {
                        "value": {
                            "grant_type": "password",
                            "username": "ada@example.com",
                            "password": "nine purple anvils",
                            "scope": "profile:read",
                        }
                    },
                    "refresh_token": {
                        "value": {
                            "grant_type": "refresh_token",
                            "refresh_token": "eyJhbGciOiJFZERTQSJ9.refresh.signature",
                        }
                    },
                },
            }
        },
    }
}


@router.post(
    "/token",
    summary="Get tokens as an OAuth 2 client",
    response_model_exclude_none=True,
    responses=oauth_errors(
        InvalidTokenRequest,
        UnsupportedGrantType,
        InvalidCredentials,
        InvalidRefreshToken,
        InvalidScope,
        InvalidClient,
        BodyTooLarge,
        HashingBusy,
        StoreUnavailable,
    ),
    openapi_extra=_FORM_SCHEMA,
)
async def issue_tokens(request: Request, response: Response) -> OAuthTokens:
    """Log in with `grant_type=password`, or refresh with `grant_type=refresh_token`.

    The password grant is for first-party clients and can be turned off. `scope` limits the tokens
    to some of the user's permissions; a refresh may narrow it and never widen it. A refresh token
    works only for the client that it was issued to.
    """
    parameters = await _parameters(request)
    client_id = _client_id(request, parameters)
    match parameters.get("grant_type"):
        case None:
            raise InvalidTokenRequest("The parameter grant_type is missing.")
        case "password" if options_of(request).password_grant:
            pair = await _log_in(request, parameters, client_id)
        case "refresh_token":
            pair = await _refresh(request, parameters, client_id)
        case _:
            raise UnsupportedGrantType
    response.headers.update(NO_STORE)
    return OAuthTokens.of(pair)


async def _log_in(request: Request, parameters: Mapping[str, str], client_id: str) -> TokenPair:
    origin = origin_of(request)
    return await services_of(request).login_user.execute(
        LoginUserCommand(
            email=known_email(_required(parameters, "username")),
            password=Secret(_required(parameters, "password")),
            device_name=await device_name(origin.user_agent),
            origin=origin,
            client_id=client_id,
            scope=_scope(parameters),
        )
    )


async def _refresh(request: Request, parameters: Mapping[str, str], client_id: str) -> TokenPair:
    result = await services_of(request).rotate_refresh.execute(
        RotateRefreshCommand(
            refresh_token=Secret(_required(parameters, "refresh_token")),
            origin=origin_of(request),
            client_id=client_id,
            scope=_scope(parameters),
        )
    )
    return result.tokens


async def _parameters(request: Request) -> dict[str, str]:
    """Return the parameters of the form; one without a value counts as omitted (RFC 6749 §3.2).

    Read here and not by a form parser: those take bad UTF-8 for something else, and keep one of
    two parameters of the same name.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0]
    if content_type.strip().lower() != _FORM:
        raise InvalidTokenRequest(f"The body must be a form: Content-Type: {_FORM}.")
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
    if len(parameters) != len(pairs):
        raise InvalidTokenRequest("A parameter is repeated.")
    return {name: value for name, value in parameters.items() if value}


def _required(parameters: Mapping[str, str], name: str) -> str:
    value = parameters.get(name)
    if value is None:
        raise InvalidTokenRequest(f"The parameter {name} is missing.")
    return value


def _scope(parameters: Mapping[str, str]) -> Scope:
    scope = parameters.get("scope")
    return None if scope is None else frozenset(scope.split())


def _client_id(request: Request, parameters: Mapping[str, str]) -> str:
    """Return which public client asks (RFC 6749 §2.3, §3.2.1).

    Raises:
        InvalidTokenRequest: the header and the form name two clients.
        InvalidClient: the client is unknown, or sends a secret and has none.
    """
    in_header, secret = _basic_credentials(request)
    in_form = parameters.get("client_id")
    if in_header and in_form and in_header != in_form:
        raise InvalidTokenRequest("The client is named twice, and not alike.")
    client_id = in_header or in_form or DEFAULT_CLIENT_ID
    # A public client has no secret, so whatever is sent as one is wrong.
    if secret or "client_secret" in parameters:
        raise InvalidClient
    if client_id not in options_of(request).public_clients:
        raise InvalidClient
    return client_id


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
