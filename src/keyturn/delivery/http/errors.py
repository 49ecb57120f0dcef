"""What goes wrong, as HTTP: the errors of requests, and one table of how each is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from keyturn.delivery.http.bearer import challenge, dpop_challenge
from keyturn.domain.errors import (
    AdministratorUnverified,
    AuthenticationRequired,
    ClientNotAllowed,
    Contention,
    EmailTaken,
    HashingBusy,
    InvalidAccessToken,
    InvalidClient,
    InvalidCredentials,
    InvalidEmail,
    InvalidOneTimeToken,
    InvalidProof,
    InvalidRefreshToken,
    InvalidRole,
    InvalidScope,
    InvalidTarget,
    KeyturnError,
    LastAdministrator,
    LetterUnwritable,
    LoginTooOld,
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
    RoleChanged,
    RoleNotFound,
    RoleProtected,
    SessionNotFound,
    SigningUnavailable,
    StaleFamily,
    StaleOneTimeToken,
    StaleRole,
    StaleUser,
    StoreUnavailable,
    TokenOfAnotherClient,
    TooManyAttempts,
    Unavailable,
    UserNotFound,
    WrongAudience,
    WrongCurrentPassword,
)


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


class MalformedRequest(KeyturnError):
    """The bytes are not a request of HTTP/1.1 or HTTP/1.0."""

    code = "malformed_request"
    message = "This is not a well-formed HTTP request."


class InvalidHost(KeyturnError):
    """`Host` is missing, repeated or not a host (RFC 9112 §3.2)."""

    code = "invalid_host"
    message = "The request needs one Host header that names a host."


class RequestTimedOut(KeyturnError):
    """The request did not arrive in time."""

    code = "request_timeout"
    message = "The request did not arrive in time."


class UrlTooLong(KeyturnError):
    """The URL is longer than the service reads."""

    code = "url_too_long"
    message = "The URL is too long."


class HeadersTooLarge(KeyturnError):
    """The headers, or the framing of the body, are larger than the service reads."""

    code = "headers_too_large"
    message = "The headers of the request are too large."


class TooManyConnections(Unavailable):
    """The worker serves as many connections as it may."""

    code = "too_many_connections"
    message = "Too many connections at once; try again in a moment."


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


class PreconditionFailed(KeyturnError):
    """What the request names by `If-Match` is not stored any more (RFC 9110 §13.1.1)."""

    code = "precondition_failed"
    message = "It has changed since you read it. Read it again, then decide again."


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


class AmbiguousRefreshCookie(KeyturnError):
    """The request has several refresh cookies, one of which another site may have planted."""

    code = "ambiguous_refresh_cookie"
    message = "The request has several refresh cookies. Log in again, or log out: both clear them."


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
    WrongAudience: HttpError(401, "Wrong audience", {"WWW-Authenticate": challenge(WrongAudience)}),
    LoginTooOld: HttpError(
        401, "Login too old", {"WWW-Authenticate": challenge(LoginTooOld, LoginTooOld.code)}
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
    InvalidTarget: HttpError(422, "Invalid target", oauth=OAuthAnswer(400, "invalid_target")),
    InvalidRole: HttpError(422, "Invalid role"),
    UserNotFound: HttpError(404, "User not found"),
    RoleNotFound: HttpError(404, "Role not found"),
    SessionNotFound: HttpError(404, "Session not found"),
    MailNotFound: HttpError(404, "Mail not found"),
    EmailTaken: HttpError(409, "E-mail address taken"),
    LastAdministrator: HttpError(409, "Last administrator"),
    AdministratorUnverified: HttpError(409, "Administrator without a verified address"),
    RoleChanged: HttpError(409, "Role changed"),
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
    StaleRole: _TRY_AGAIN,
    StaleOneTimeToken: _TRY_AGAIN,
    MailUnavailable: _TRY_AGAIN,
    LetterUnwritable: _TRY_AGAIN,
    MailRefused: _TRY_AGAIN,
    # What is wrong with the request as such.
    MalformedJson: HttpError(400, "Malformed JSON"),
    UnsupportedMediaType: HttpError(415, "Unsupported media type"),
    BodyTooLarge: HttpError(413, "Body too large", oauth=OAuthAnswer(413, "invalid_request")),
    MalformedRequest: HttpError(400, "Malformed request"),
    InvalidHost: HttpError(400, "Invalid Host header"),
    RequestTimedOut: HttpError(408, "Request timeout"),
    UrlTooLong: HttpError(414, "URL too long"),
    HeadersTooLarge: HttpError(431, "Headers too large"),
    TooManyConnections: _TRY_AGAIN,
    ValidationFailed: HttpError(422, "Invalid request"),
    RouteNotFound: HttpError(404, "Not found", oauth=OAuthAnswer(404, "invalid_request")),
    MethodNotAllowed: HttpError(
        405, "Method not allowed", oauth=OAuthAnswer(405, "invalid_request")
    ),
    PreconditionFailed: HttpError(412, "Precondition failed"),
    AmbiguousRefreshCookie: HttpError(400, "Several refresh cookies"),
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
