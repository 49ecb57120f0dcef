"""Tokens for OAuth 2 clients: issued, revoked and looked into (RFC 6749, 7009, 7662)."""

from collections.abc import Mapping

from fastapi import APIRouter, Depends, Request, Response

from keyturn.delivery.http.dependencies import (
    checked_proof_of,
    options_of,
    origin_of,
    services_of,
)
from keyturn.delivery.http.device_names import device_name
from keyturn.delivery.http.errors import (
    NO_STORE,
    BodyTooLarge,
    InvalidTokenRequest,
    UnsupportedGrantType,
)
from keyturn.delivery.http.oauth_clients import (
    FORM,
    MAY_PROVE_CLIENT,
    ClientScheme,
    client_of,
    form_of,
    required,
)
from keyturn.delivery.http.openapi import oauth_errors, operation_id
from keyturn.delivery.http.schemas import OAuthTokens, known_email
from keyturn.delivery.http.schemas_oauth import Introspection
from keyturn.domain.client import Client
from keyturn.domain.errors import (
    ClientNotAllowed,
    HashingBusy,
    InvalidClient,
    InvalidCredentials,
    InvalidProof,
    InvalidRefreshToken,
    InvalidScope,
    InvalidTarget,
    ProofNonceRequired,
    RevocationsUnknown,
    StoreUnavailable,
    TokenOfAnotherClient,
    TooManyAttempts,
)
from keyturn.domain.refresh_token_family import DEFAULT_CLIENT_ID
from keyturn.domain.scope import Scope
from keyturn.domain.secret import Secret
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.revoke_token import RevokeTokenCommand
from keyturn.use_cases.rotate_refresh import RotateRefreshCommand
from keyturn.use_cases.token_pair import TokenPair

router = APIRouter(
    prefix="/oauth",
    tags=["OAuth 2"],
    dependencies=[Depends(ClientScheme())],
    generate_unique_id_function=operation_id,
)

_FORM_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
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
                        "resource": {
                            "type": "string",
                            "format": "uri",
                            "description": "What the access token is for (RFC 8707): a declared "
                            "resource, or the issuer. Without it, the default audience.",
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
        InvalidProof,
        ProofNonceRequired,
        InvalidScope,
        InvalidTarget,
        InvalidClient,
        BodyTooLarge,
        TooManyAttempts,
        HashingBusy,
        StoreUnavailable,
    ),
    openapi_extra=MAY_PROVE_CLIENT | _FORM_SCHEMA,
)
async def issue_tokens(request: Request, response: Response) -> OAuthTokens:
    """Log in with `grant_type=password`, or refresh with `grant_type=refresh_token`.

    The password grant is for first-party clients. Unless `KEYTURN_PASSWORD_GRANT` is set, it is
    on only where the service is on loopback; elsewhere it is an `unsupported_grant_type`.

    `scope` limits the tokens to some of the user's permissions; a refresh may narrow it and never
    widen it. A refresh token works only for the client that it was issued to. `resource` says
    what the access token is for; a session gets tokens for several resources by refreshing once
    for each.
    """
    response.headers.update(NO_STORE)
    return await tokens_for(request)


async def tokens_for(request: Request) -> OAuthTokens:
    """Return the tokens that a request's form asks for."""
    parameters = await form_of(request)
    client = await client_of(request, parameters)
    match parameters.get("grant_type"):
        case None:
            raise InvalidTokenRequest("The parameter grant_type is missing.")
        case "password" if options_of(request).password_grant:
            pair = await _log_in(request, parameters, client)
        case "refresh_token":
            pair = await _refresh(request, parameters, client)
        case _:
            raise UnsupportedGrantType
    return OAuthTokens.of(pair)


def _token_schema(example: str) -> dict[str, object]:
    return {
        "requestBody": {
            "required": True,
            "content": {
                FORM: {
                    "schema": {
                        "type": "object",
                        "required": ["token"],
                        "properties": {
                            "token": {"type": "string", "format": "password"},
                            "token_type_hint": {
                                "type": "string",
                                "description": "`access_token` or `refresh_token`; not needed, "
                                "each tells its kind.",
                            },
                            "client_id": {"type": "string", "default": DEFAULT_CLIENT_ID},
                        },
                    },
                    "examples": {"token": {"value": {"token": example}}},
                }
            },
        }
    }


@router.post(
    "/revoke",
    summary="Give a token back",
    response_class=Response,
    responses={
        200: {"description": "The token is good for nothing any more, or never was."},
        **oauth_errors(
            InvalidTokenRequest,
            InvalidClient,
            TokenOfAnotherClient,
            BodyTooLarge,
            StoreUnavailable,
        ),
    },
    openapi_extra=MAY_PROVE_CLIENT | _token_schema("eyJhbGciOiJFZERTQSJ9.refresh.signature"),
)
async def revoke_token(request: Request) -> Response:
    """End the session of a refresh token, with all its access tokens; or kill one access token.

    An unknown token is a 200 too. A token that was issued to another client stays as it is.
    """
    parameters = await form_of(request)
    client = await client_of(request, parameters)
    command = RevokeTokenCommand(Secret(required(parameters, "token")), client, origin_of(request))
    await services_of(request).revoke_token.execute(command)
    return Response(headers=NO_STORE)


@router.post(
    "/introspect",
    summary="Ask what a token is worth",
    response_model_exclude_none=True,
    responses=oauth_errors(
        InvalidTokenRequest,
        InvalidClient,
        ClientNotAllowed,
        BodyTooLarge,
        StoreUnavailable,
        RevocationsUnknown,
    ),
    openapi_extra=_token_schema("eyJhbGciOiJFZERTQSJ9.access.signature"),
)
async def introspect_token(request: Request, response: Response) -> Introspection:
    """Say what is true of a token at this moment, by the store; only for clients that may ask.

    What is not good, for whatever reason, is `{"active": false}`. So is every token that is not for
    the client's own audience: `audience` in `clients.toml`, or the default one. A refresh token is
    for the issuer. Looking changes nothing.
    """
    parameters = await form_of(request)
    client = await client_of(request, parameters)
    token = Secret(required(parameters, "token"))
    found = await services_of(request).introspect_token.execute(client, token)
    response.headers.update(NO_STORE)
    return Introspection.of(found, options_of(request))


async def _log_in(request: Request, parameters: Mapping[str, str], client: Client) -> TokenPair:
    origin = origin_of(request)
    return await services_of(request).login_user.execute(
        LoginUserCommand(
            email=known_email(required(parameters, "username")),
            password=Secret(required(parameters, "password")),
            device_name=await device_name(origin.user_agent),
            origin=origin,
            client_id=client.id,
            scope=_scope(parameters),
            proof=checked_proof_of(request),
            resource=parameters.get("resource"),
        )
    )


async def _refresh(request: Request, parameters: Mapping[str, str], client: Client) -> TokenPair:
    result = await services_of(request).rotate_refresh.execute(
        RotateRefreshCommand(
            refresh_token=Secret(required(parameters, "refresh_token")),
            origin=origin_of(request),
            client_id=client.id,
            scope=_scope(parameters),
            proof=checked_proof_of(request),
            resource=parameters.get("resource"),
        )
    )
    return result.tokens


def _scope(parameters: Mapping[str, str]) -> Scope:
    scope = parameters.get("scope")
    return None if scope is None else frozenset(scope.split())
