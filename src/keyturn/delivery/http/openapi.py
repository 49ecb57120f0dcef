"""What OpenAPI says beyond what FastAPI finds out: the error answers, from the one table."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from keyturn.delivery.http.error_answers import error_headers, problem_type
from keyturn.delivery.http.errors import (
    BodyTooLarge,
    MalformedJson,
    NotReady,
    UnsupportedMediaType,
    ValidationFailed,
    http_error,
)
from keyturn.delivery.http.schemas import OAuthProblem, Problem
from keyturn.domain.errors import (
    AuthenticationRequired,
    InvalidAccessToken,
    InvalidInput,
    InvalidProof,
    KeyturnError,
    LoginTooOld,
    PasswordBreached,
    PasswordNotText,
    PasswordTooCommon,
    PasswordTooLong,
    PasswordTooPersonal,
    PasswordTooShort,
    RevocationsUnknown,
    WrongAudience,
)
from keyturn.domain.user import USER_ROLE

BAD_JSON = (MalformedJson, BodyTooLarge, UnsupportedMediaType, ValidationFailed)
"""What can be wrong with the body of every route that takes one."""

BAD_ACCESS_TOKEN = (
    AuthenticationRequired,
    InvalidAccessToken,
    WrongAudience,
    InvalidProof,
    RevocationsUnknown,
)
"""What every route answers that needs an access token."""

BAD_NEW_PASSWORD = (
    PasswordTooShort,
    PasswordTooLong,
    PasswordTooCommon,
    PasswordTooPersonal,
    PasswordBreached,
    PasswordNotText,
)
"""What can be wrong with a password that somebody chooses."""

OPTIONAL_TOKEN: dict[str, object] = {"security": [{"AccessToken": []}, {}]}
"""The `openapi_extra` of a route that an access token is good for and not needed."""

_PROBLEM_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_DESCRIPTIONS = {
    "WWW-Authenticate": "What to authenticate with, and what was wrong (RFC 6750 §3).",
    "Retry-After": "Seconds after which a retry makes sense.",
}
_EXAMPLE_REQUEST_ID = "5f0c6a1e9b7d4c2f8a3e1d0b6c9f2a47"


def operation_id(route: APIRoute) -> str:
    """Return the `operationId` of a route: the name of its function."""
    return route.name


def problems(
    *errors: type[KeyturnError], schema: Mapping[str, object] = _PROBLEM_REFERENCE
) -> dict[int | str, dict[str, object]]:
    """Return the `responses` of a route that can fail with these errors.

    Args:
        schema: that of a problem; unless told, a reference to where a `DescribedApp` has it.
    """
    responses: dict[int | str, dict[str, object]] = {}
    for status in sorted({http_error(error).status for error in errors}):
        told = [error for error in errors if http_error(error).status == status]
        responses[status] = {
            "description": _either(http_error(error).title for error in told),
            "headers": _headers(*(error_headers(error) for error in told)),
            "content": {
                "application/problem+json": {
                    "schema": schema,
                    "examples": {error.code: {"value": _problem(error)} for error in told},
                }
            },
        }
    return responses


def oauth_errors(*errors: type[KeyturnError]) -> dict[int | str, dict[str, object]]:
    """Return the `responses` of a route under `/oauth/` that can fail with these errors."""
    responses: dict[int | str, dict[str, object]] = {}
    for status in sorted({http_error(error).oauth.status for error in errors}):
        told = [error for error in errors if http_error(error).oauth.status == status]
        responses[status] = {
            "description": _either(http_error(error).oauth.error for error in told),
            "headers": _headers(*(error_headers(error, oauth=True) for error in told)),
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/OAuthProblem"},
                    "examples": {error.code: {"value": _oauth_problem(error)} for error in told},
                }
            },
        }
    return responses


class DescribedApp(FastAPI):
    """A FastAPI app whose OpenAPI document also holds the models of its error answers."""

    _tokens_from: str | None = ""

    def describe_tokens_from(self, path: str | None) -> None:
        """Say that tokens come from the service whose URL has this path.

        Args:
            path: None where the token endpoint takes no passwords, so that a person has to bring
                a token.
        """
        self._tokens_from = path

    def openapi(self) -> dict[str, object]:
        """Return the OpenAPI document."""
        document = super().openapi()
        _, definitions = models_json_schema(
            [(Problem, "serialization"), (OAuthProblem, "serialization")],
            ref_template="#/components/schemas/{model}",
        )
        document["components"]["schemas"].update(definitions["$defs"])
        return with_tokens_from(document, self._tokens_from)


def with_tokens_from(document: dict[str, Any], path: str | None) -> dict[str, object]:
    """Return an OpenAPI document whose access tokens come from the service below `path`.

    Args:
        document: is changed.
        path: None where a person has to bring a token.
    """
    schemes = document.get("components", {}).get("securitySchemes", {})
    if "AccessToken" in schemes and path is not None:
        url = f"{path}/oauth/token"
        scopes = dict.fromkeys(sorted(USER_ROLE.permissions), "What every user may do.")
        flow = {"tokenUrl": url, "refreshUrl": url, "scopes": scopes}
        schemes["AccessToken"] = {"type": "oauth2", "flows": {"password": flow}}
    return document


def _either(texts: Iterable[str]) -> str:
    return ", or ".join(dict.fromkeys(texts))


def _headers(*all_headers: Mapping[str, str]) -> dict[str, object]:
    return {
        name: {"description": _DESCRIPTIONS[name], "schema": {"type": "string"}}
        for headers in all_headers
        for name in headers
    }


def _problem(error: type[KeyturnError]) -> dict[str, object]:
    problem: dict[str, object] = {
        "type": problem_type(error.code),
        "title": http_error(error).title,
        "status": http_error(error).status,
        "detail": error.message,
        "code": error.code,
        "request_id": _EXAMPLE_REQUEST_ID,
    }
    if issubclass(error, InvalidInput):
        problem["errors"] = [{"field": error.field, "message": error.message}]
    if error is ValidationFailed:
        problem["errors"] = [{"field": "email", "message": "This field is required."}]
    if error is NotReady:
        problem["failing"] = ["database"]
    if error is WrongAudience:
        problem["resource"] = "https://auth.example.com"
    if error is LoginTooOld:
        problem["max_age"] = 300
    return problem


def _oauth_problem(error: type[KeyturnError]) -> dict[str, object]:
    return {"error": http_error(error).oauth.error, "error_description": error.message}
