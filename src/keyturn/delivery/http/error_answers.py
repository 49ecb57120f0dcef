"""Failed requests, answered: as a problem (RFC 9457), or the way OAuth tells it."""

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Scope

from keyturn.delivery.http.bearer import dpop_challenge, uses_dpop
from keyturn.delivery.http.errors import (
    NO_STORE,
    BodyTooLarge,
    FieldProblem,
    MalformedJson,
    MethodNotAllowed,
    NotReady,
    RouteNotFound,
    UnsupportedMediaType,
    ValidationFailed,
    http_error,
)
from keyturn.delivery.http.refusals import record_refusal
from keyturn.delivery.http.request_ids import request_id
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.domain.errors import (
    AuthenticationRequired,
    InvalidAccessToken,
    InvalidInput,
    KeyturnError,
    LoginTooOld,
    PermissionDenied,
    ProofNonceRequired,
    TooManyAttempts,
    Unavailable,
    WrongAudience,
)

_log = logging.getLogger("keyturn.http")


def error_answer(
    scope: Scope, error: KeyturnError, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer to a request that failed.

    Args:
        scope: the request's; its path decides whether this is a problem or an OAuth error.
        error: what went wrong; only what it says of itself is told.
        headers: more headers.
    """
    told = http_error(type(error))
    headers = {**error_headers(type(error), oauth=_is_oauth(scope)), **(headers or {})}
    if isinstance(error, TooManyAttempts):
        headers["Retry-After"] = str(error.retry_after)
    if "WWW-Authenticate" in headers and _takes_proofs(scope):
        headers["WWW-Authenticate"] = _challenge(scope, type(error), headers["WWW-Authenticate"])
    if isinstance(error, LoginTooOld):
        # RFC 9470 §3: how old the proof of identity may be.
        headers["WWW-Authenticate"] += f', max_age="{error.max_age}"'
    if _is_oauth(scope):
        return JSONResponse(
            {"error": told.oauth.error, "error_description": error.detail},
            status_code=told.oauth.status,
            headers={**headers, **NO_STORE},
        )
    problem: dict[str, object] = {
        "type": problem_type(error.code),
        "title": told.title,
        "status": told.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id(scope),
    }
    problems = _field_problems(scope, error)
    if problems:
        problem["errors"] = [{"field": each.field, "message": each.message} for each in problems]
    if isinstance(error, NotReady):
        problem["failing"] = list(error.failing)
    if isinstance(error, WrongAudience) and error.resource is not None:
        problem["resource"] = error.resource
    if isinstance(error, LoginTooOld):
        problem["max_age"] = error.max_age
    return JSONResponse(
        problem,
        status_code=told.status,
        headers=headers,
        media_type="application/problem+json",
    )


def error_headers(error: type[KeyturnError], *, oauth: bool = False) -> dict[str, str]:
    """Return the headers that an error is answered with, as far as its class tells."""
    told = http_error(error)
    if oauth and told.oauth.status != told.status:
        # A challenge belongs to the status that it was made for.
        return {}
    headers = dict(told.headers)
    if told.status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        retry_after = error.retry_after if issubclass(error, Unavailable) else 1
        headers["Retry-After"] = str(retry_after)
    return headers


def problem_type(code: str) -> str:
    """Return the URI that names a kind of problem (RFC 9457 §3.1.1)."""
    return f"urn:keyturn:error:{code}"


def call_field(scope: Scope, name: str, in_request: str) -> None:
    """Tell errors about the field `name` as errors about `in_request`, what this route calls it."""
    scope.setdefault("keyturn.fields", {})[name] = in_request


def _takes_proofs(scope: Scope) -> bool:
    options: HttpOptions | None = (
        getattr(scope["app"].state, "keyturn_http", None) if "app" in scope else None
    )
    return options is not None and options.dpop


def _challenge(scope: Scope, error: type[KeyturnError], told: str) -> str:
    if error is AuthenticationRequired:
        return f"{told}, {dpop_challenge()}"
    # RFC 9449 §7.1: a token that came with this scheme is challenged for it.
    if uses_dpop(scope) and issubclass(error, InvalidAccessToken):
        return dpop_challenge(error)
    if uses_dpop(scope) and issubclass(error, (PermissionDenied, LoginTooOld)):
        return dpop_challenge(error, error.code)
    return told


def _is_oauth(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")).startswith("/oauth/")


def _field_problems(scope: Scope, error: KeyturnError) -> Sequence[FieldProblem]:
    if isinstance(error, ValidationFailed):
        return error.problems
    if isinstance(error, InvalidInput) and error.field is not None:
        name = scope.get("keyturn.fields", {}).get(error.field, error.field)
        return (FieldProblem(name, error.detail),)
    return ()


def handle_keyturn_errors(app: FastAPI) -> None:
    """Let an app of your own answer the errors that keyturn's dependencies raise."""
    app.exception_handlers[KeyturnError] = _on_keyturn_error


def handle_all_errors(app: FastAPI) -> None:
    """Answer whatever can go wrong in a request, but for what nobody expected."""
    handle_keyturn_errors(app)
    app.exception_handlers[RequestValidationError] = _on_validation_error
    app.exception_handlers[HTTPException] = _on_http_exception
    app.exception_handlers[ClientDisconnect] = _on_disconnect


async def answer_error(
    request: Request, error: KeyturnError | HTTPException | ClientDisconnect
) -> Response:
    """Return the answer that `handle_all_errors` gives where no route was asked."""
    match error:
        case KeyturnError():
            return await _on_keyturn_error(request, error)
        case HTTPException():
            return await _on_http_exception(request, error)
        case ClientDisconnect():
            return await _on_disconnect(request, error)


async def _on_keyturn_error(request: Request, error: KeyturnError) -> Response:
    _log_cause(request.scope, error)
    await record_refusal(request, error)
    if not isinstance(error, ProofNonceRequired):
        return error_answer(request.scope, error)
    services: Services = request.app.state.keyturn
    try:
        nonce = await services.check_proof.nonce()
    except Unavailable as unavailable:
        return error_answer(request.scope, unavailable)
    return error_answer(request.scope, error, {"DPoP-Nonce": nonce or ""})


def _log_cause(scope: Scope, error: KeyturnError) -> None:
    # The answer says only that something does not work, not what.
    if isinstance(error, Unavailable) and error.__cause__ is not None:
        _log.warning("request %s fails, %s: %s", request_id(scope), error.code, reason_of(error))


def reason_of(error: Exception) -> str:
    """Return what kept the service from its work, for the operator's log.

    Only errors that keyturn writes itself are known to quote nothing: of others it is the kind.
    """
    # Others are caused by what stopped them: a timeout by a cancellation, for example.
    cause = error.__cause__ if isinstance(error, KeyturnError) else None
    if cause is None:
        return type(error).__name__
    kind = type(cause)
    return str(cause) if kind.__module__.startswith("keyturn.") else kind.__name__


async def _on_validation_error(request: Request, error: RequestValidationError) -> Response:
    return error_answer(request.scope, _what_is_invalid(error))


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    match error.status_code:
        case HTTPStatus.BAD_REQUEST:
            return error_answer(request.scope, MalformedJson())
        case HTTPStatus.NOT_FOUND:
            return error_answer(request.scope, RouteNotFound())
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = {"Allow": ", ".join(_allowed_methods(request))}
            return error_answer(request.scope, MethodNotAllowed(), allowed)
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return error_answer(request.scope, BodyTooLarge())
        case _:
            # Nothing of ours raises another: it is a route that somebody added.
            return await http_exception_handler(request, error)


async def _on_disconnect(request: Request, error: ClientDisconnect) -> Response:  # noqa: ARG001 - Starlette hands it over
    # Nobody is there to read it.
    return Response(status_code=400)


def _allowed_methods(request: Request) -> list[str]:
    """Return every method of the path; the exception names only those of one route."""
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)


_OWN_WORDS = {
    "missing": "This field is required.",
    "extra_forbidden": "This route does not know this field.",
    "string_unicode": "This is not text.",
}
_FIELD_NAME = re.compile(r"[A-Za-z_]{1,32}")


def _what_is_invalid(error: RequestValidationError) -> KeyturnError:
    if isinstance(error.body, bytes):
        return UnsupportedMediaType()
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return MalformedJson()
    return ValidationFailed(
        [
            FieldProblem(_field_name(each["loc"]), _OWN_WORDS.get(each["type"], each["msg"]))
            for each in error.errors()
        ]
    )


def _field_name(location: Sequence[int | str]) -> str:
    """Return the path of a field, without whatever can't be the name of one.

    The name of an unknown field comes from the client: it may be anything, even a password that
    stands in the wrong place.
    """
    inside = [str(part) for part in location[1:]]
    if not inside:
        return str(location[0])
    return ".".join(part if _FIELD_NAME.fullmatch(part) else "?" for part in inside)
