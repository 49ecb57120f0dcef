"""What goes wrong, as HTTP: one table, told as a problem (RFC 9457) or the way OAuth tells it."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Scope

from keyturn.delivery.http.bearer import challenge, dpop_challenge, uses_dpop
from keyturn.delivery.http.request_ids import request_id
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.domain.errors import (
    AuthenticationRequired,
    ClientNotAllowed,
    Contention,
    EmailTaken,
    HashingBusy,
    InvalidAccessToken,
    InvalidClient,
    InvalidCredentials,
    InvalidEmail,
    InvalidInput,
    InvalidOneTimeToken,
    InvalidProof,
    InvalidRefreshToken,
    InvalidRole,
    InvalidScope,
    KeyturnError,
    LastAdministrator,
    LetterUnwritable,
    MailNotFound,
    MailRefused,
    MailUnavailable,
    PasswordBreached,
    PasswordHashUnknown,
    PasswordNotText,
    PasswordTooCommon,
    PasswordTooLong,
    PasswordTooPersonal,
    PasswordTooShort,
    PermissionDenied,
    ProofNonceRequired,
    ProofsBusy,
    RevocationsUnknown,
    RoleNotFound,
    RoleProtected,
    SessionNotFound,
    SigningUnavailable,
    StaleFamily,
    StaleOneTimeToken,
    StaleUser,
    StoreUnavailable,
    TokenOfAnotherClient,
    TooManyAttempts,
    Unavailable,
    UserNotFound,
    WrongCurrentPassword,
)

_log = logging.getLogger("keyturn.http")


class MalformedJson(KeyturnError):
    """The body is not JSON, not in UTF-8 or nested too deeply to be read."""

    code = "malformed_json"
    message = "The body is not well-formed JSON."


class UnsupportedMediaType(KeyturnError):
    """The body is not said to be JSON; which also keeps forms of other sites out."""

    code = "unsupported_media_type"
    message = "The body must be JSON and be said to be: Content-Type: application/json."


class BodyTooLarge(KeyturnError):
    """The body is larger than the service reads."""

    code = "body_too_large"
    message = "The body is too large."


class ValidationFailed(KeyturnError):
    """The request has not the shape that the route asks for."""

    code = "validation_failed"
    message = "The request does not have the form that this route asks for."

    def __init__(self, problems: Sequence["FieldProblem"] = ()) -> None:
        """Raise with what is wrong with each field."""
        super().__init__()
        self.problems = tuple(problems)


class RouteNotFound(KeyturnError):
    """There is no such route."""

    code = "not_found"
    message = "There is nothing here."


class MethodNotAllowed(KeyturnError):
    """The route exists, but not for this method."""

    code = "method_not_allowed"
    message = "This route does not answer this method."


class CsrfRejected(KeyturnError):
    """A request that rests on the cookie may come from another site (OWASP ASVS 5.0 V3.5.1)."""

    code = "csrf_rejected"
    message = (
        "A request with the refresh cookie needs the header X-Requested-With and must come from "
        "this site or an allowed origin."
    )


class NotReady(KeyturnError):
    """Something that the service needs does not work."""

    code = "not_ready"
    message = "The service can't do its work now."

    def __init__(self, failing: Sequence[str] = ()) -> None:
        """Raise with the names of the checks that fail."""
        super().__init__()
        self.failing = tuple(failing)


class InternalError(KeyturnError):
    """A fault of ours; what it was stands in the log, under the request's id."""

    code = "internal_error"
    message = "Something went wrong on the server. The request id finds it in the log."


class InvalidTokenRequest(KeyturnError):
    """A parameter of an OAuth request is missing, repeated or malformed (RFC 6749 §5.2)."""

    code = "invalid_request"
    message = "The request is malformed."


class UnsupportedGrantType(KeyturnError):
    """The service does not issue tokens for this kind of grant (RFC 6749 §5.2)."""

    code = "unsupported_grant_type"
    message = "This grant type is not supported."


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field of a request; never what was sent."""

    field: str
    message: str


class OAuthAnswer(NamedTuple):
    """How a class of error is told under `/oauth/` (RFC 6749 §5.2)."""

    status: int
    error: str


_MALFORMED = OAuthAnswer(400, "invalid_request")


@dataclass(frozen=True, slots=True)
class HttpError:
    """How a class of error is told.

    Attributes:
        headers: besides `Retry-After`, which every 429 and 503 has.
    """

    status: int
    title: str
    headers: Mapping[str, str] = field(default_factory=dict)
    oauth: OAuthAnswer = _MALFORMED


_LOGIN_FIRST = {"WWW-Authenticate": challenge()}
_TRY_AGAIN = HttpError(503, "Not available now", oauth=OAuthAnswer(503, "temporarily_unavailable"))

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
"""What every answer of the token endpoint carries (RFC 6749 §5.1)."""

HTTP_ERRORS: Mapping[type[KeyturnError], HttpError] = {
    # What the use-cases raise.
    AuthenticationRequired: HttpError(401, "Authentication required", _LOGIN_FIRST),
    InvalidCredentials: HttpError(
        401, "Wrong credentials", _LOGIN_FIRST, oauth=OAuthAnswer(400, "invalid_grant")
    ),
    InvalidAccessToken: HttpError(
        401, "Invalid access token", {"WWW-Authenticate": challenge(InvalidAccessToken)}
    ),
    InvalidRefreshToken: HttpError(
        401,
        "Invalid refresh token",
        {"WWW-Authenticate": challenge(InvalidRefreshToken)},
        oauth=OAuthAnswer(400, "invalid_grant"),
    ),
    InvalidProof: HttpError(
        401,
        "Invalid DPoP proof",
        {"WWW-Authenticate": dpop_challenge(InvalidProof, InvalidProof.code)},
        oauth=OAuthAnswer(400, "invalid_dpop_proof"),
    ),
    ProofNonceRequired: HttpError(
        401,
        "DPoP nonce required",
        {"WWW-Authenticate": dpop_challenge(ProofNonceRequired, ProofNonceRequired.code)},
        oauth=OAuthAnswer(400, "use_dpop_nonce"),
    ),
    InvalidClient: HttpError(
        401,
        "Invalid client",
        {"WWW-Authenticate": 'Basic realm="keyturn", charset="UTF-8"'},
        oauth=OAuthAnswer(401, "invalid_client"),
    ),
    ClientNotAllowed: HttpError(
        403, "Client not allowed", oauth=OAuthAnswer(403, "unauthorized_client")
    ),
    TokenOfAnotherClient: HttpError(
        403, "Token of another client", oauth=OAuthAnswer(400, "invalid_grant")
    ),
    PermissionDenied: HttpError(
        403,
        "Permission denied",
        {"WWW-Authenticate": challenge(PermissionDenied, "insufficient_scope")},
    ),
    TooManyAttempts: HttpError(
        429, "Too many attempts", oauth=OAuthAnswer(429, "temporarily_unavailable")
    ),
    InvalidEmail: HttpError(422, "Invalid e-mail address", oauth=OAuthAnswer(400, "invalid_grant")),
    PasswordTooShort: HttpError(422, "Password too short", oauth=OAuthAnswer(400, "invalid_grant")),
    PasswordTooLong: HttpError(422, "Password too long", oauth=OAuthAnswer(400, "invalid_grant")),
    PasswordTooCommon: HttpError(
        422, "Password too common", oauth=OAuthAnswer(400, "invalid_grant")
    ),
    PasswordTooPersonal: HttpError(
        422, "Password too personal", oauth=OAuthAnswer(400, "invalid_grant")
    ),
    PasswordBreached: HttpError(422, "Password breached", oauth=OAuthAnswer(400, "invalid_grant")),
    # Only the command line imports hashes.
    PasswordHashUnknown: HttpError(422, "Unknown kind of hash"),
    PasswordNotText: HttpError(
        422, "Password is not text", oauth=OAuthAnswer(400, "invalid_grant")
    ),
    WrongCurrentPassword: HttpError(422, "Wrong current password"),
    InvalidOneTimeToken: HttpError(422, "Invalid link"),
    InvalidScope: HttpError(422, "Invalid scope", oauth=OAuthAnswer(400, "invalid_scope")),
    InvalidRole: HttpError(422, "Invalid role"),
    UserNotFound: HttpError(404, "User not found"),
    RoleNotFound: HttpError(404, "Role not found"),
    SessionNotFound: HttpError(404, "Session not found"),
    MailNotFound: HttpError(404, "Mail not found"),
    EmailTaken: HttpError(409, "E-mail address taken"),
    LastAdministrator: HttpError(409, "Last administrator"),
    RoleProtected: HttpError(409, "Role protected"),
    Unavailable: _TRY_AGAIN,
    StoreUnavailable: _TRY_AGAIN,
    RevocationsUnknown: _TRY_AGAIN,
    SigningUnavailable: _TRY_AGAIN,
    HashingBusy: _TRY_AGAIN,
    ProofsBusy: _TRY_AGAIN,
    Contention: _TRY_AGAIN,
    # No use-case lets these out; if one did, trying again would still be the right thing.
    StaleUser: _TRY_AGAIN,
    StaleFamily: _TRY_AGAIN,
    StaleOneTimeToken: _TRY_AGAIN,
    MailUnavailable: _TRY_AGAIN,
    LetterUnwritable: _TRY_AGAIN,
    MailRefused: _TRY_AGAIN,
    # What is wrong with the request as such.
    MalformedJson: HttpError(400, "Malformed JSON"),
    UnsupportedMediaType: HttpError(415, "Unsupported media type"),
    BodyTooLarge: HttpError(413, "Body too large", oauth=OAuthAnswer(413, "invalid_request")),
    ValidationFailed: HttpError(422, "Invalid request"),
    RouteNotFound: HttpError(404, "Not found", oauth=OAuthAnswer(404, "invalid_request")),
    MethodNotAllowed: HttpError(
        405, "Method not allowed", oauth=OAuthAnswer(405, "invalid_request")
    ),
    CsrfRejected: HttpError(403, "Possible cross-site request"),
    InvalidTokenRequest: HttpError(400, "Invalid request"),
    UnsupportedGrantType: HttpError(
        400, "Unsupported grant type", oauth=OAuthAnswer(400, "unsupported_grant_type")
    ),
    # What is wrong with us.
    NotReady: HttpError(503, "Not ready", oauth=OAuthAnswer(503, "temporarily_unavailable")),
    InternalError: HttpError(500, "Internal error", oauth=OAuthAnswer(500, "server_error")),
}
"""How each error is answered; an error that has no row is answered as its nearest parent."""


def http_error(error: type[KeyturnError]) -> HttpError:
    """Return how an error is told: by its own row or that of its nearest parent."""
    for cls in error.__mro__:
        if cls in HTTP_ERRORS:
            return HTTP_ERRORS[cls]
    return HTTP_ERRORS[InternalError]


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
    if uses_dpop(scope) and error is InvalidAccessToken:
        return dpop_challenge(error)
    if uses_dpop(scope) and error is PermissionDenied:
        return dpop_challenge(error, PermissionDenied.code)
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
