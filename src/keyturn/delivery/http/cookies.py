"""The refresh token and the device token as cookies, and what a request with them must prove.

Both cookies are `HttpOnly` and `SameSite=Lax`. Their names begin with `__Host-`: a browser takes
such a cookie only over TLS, for `Path=/` and without `Domain`, so that no other host and no other
path can plant one (RFC 6265bis §4.1.3.2). Plain-HTTP development has names without the prefix.

A refresh or a logout that rests on the cookie needs `X-Requested-With`, which no form and no link
of another site can set, and whatever the browser says of their origin must be right (OWASP ASVS
5.0 V3.5.1). A login by cookie needs the right origin and a body of JSON, which no form can send.
"""

from urllib.parse import urlsplit

from fastapi import Request, Response
from starlette.types import Scope

from keyturn.delivery.http.dependencies import options_of
from keyturn.delivery.http.errors import AmbiguousRefreshCookie, CsrfRejected
from keyturn.domain.secret import Secret
from keyturn.use_cases.login_user import DEVICE_TOKEN_TTL
from keyturn.use_cases.token_pair import TokenPair

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

_REFRESH = "keyturn_refresh"
_DEVICE = "keyturn_device"

_MOST_DOMAINS = 4
"""Bounds the answer to a request whose `Host` has many labels."""

_PATHS_OF_REQUESTS = ("/v1/auth/login", "/v1/auth/refresh", "/v1/auth/logout")


def refresh_token_from_cookie(request: Request) -> Secret | None:
    """Return the refresh token in the cookie, None without one.

    Raises:
        CsrfRejected: there is a cookie, and the request may come from another site.
        AmbiguousRefreshCookie: there are several, one of which somebody else may have planted.
    """
    tokens = refresh_tokens_from_cookies(request)
    if len(tokens) > 1:
        raise AmbiguousRefreshCookie
    return tokens[0] if tokens and tokens[0].reveal() else None


def refresh_tokens_from_cookies(request: Request) -> list[Secret]:
    """Return the refresh token of each cookie that has the name, for a request that ends sessions.

    Raises:
        CsrfRejected: there is a cookie, and the request may come from another site.
    """
    tokens = _sent(request, _REFRESH)
    if any(token.reveal() for token in tokens):
        if "x-requested-with" not in request.headers:
            raise CsrfRejected
        check_origin(request)
    return tokens


def replaced_refresh_tokens(request: Request) -> tuple[Secret, ...]:
    """Return the refresh tokens that a login by cookie takes the place of.

    The login itself must have called `check_origin`.
    """
    return tuple(_sent(request, _REFRESH))


def device_token_from_cookie(request: Request) -> Secret | None:
    """Return the device token in the cookie, None without one and where there are several."""
    tokens = _sent(request, _DEVICE)
    return tokens[0] if len(tokens) == 1 else None


def check_origin(request: Request) -> None:
    """Refuse a request that a browser sent for a page of another site.

    An origin that the deployment allows may do everything. Otherwise `Origin` must be this
    service's own and `Sec-Fetch-Site` `same-origin` or `none`, each where it is sent; what sends
    neither is no browser.

    Raises:
        CsrfRejected: it comes from elsewhere.
    """
    origins = request.headers.getlist("origin")
    if len(origins) > 1:
        raise CsrfRejected
    if origins and origins[0] in options_of(request).allowed_origins:
        return
    if origins and origins[0] != _own_origin(request):
        raise CsrfRejected
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise CsrfRejected


def set_login_cookies(request: Request, response: Response, pair: TokenPair) -> None:
    """Put both tokens of a login into cookies, and clear those that somebody else may have set."""
    _clear_planted(request, response, _REFRESH)
    _clear_planted(request, response, _DEVICE)
    set_refresh_cookie(request, response, pair)
    if pair.device_token is not None:
        lifetime = int(DEVICE_TOKEN_TTL.total_seconds())
        _set(request, response, _DEVICE, pair.device_token.reveal(), lifetime)


def set_refresh_cookie(request: Request, response: Response, pair: TokenPair) -> None:
    """Put the refresh token of a pair into the cookie, for as long as it lives."""
    _set(request, response, _REFRESH, pair.refresh_token.reveal(), pair.refresh_expires_in)


def clear_refresh_cookie(request: Request, response: Response) -> None:
    """Make the browser forget the cookie, if it sent one. The device stays known."""
    if _sent(request, _REFRESH):
        _clear_planted(request, response, _REFRESH)
        _set(request, response, _REFRESH, "", 0)


def _set(
    request: Request,
    response: Response,
    name: str,
    value: str,
    max_age: int,
    *,
    path: str = "/",
    domain: str | None = None,
) -> None:
    response.set_cookie(
        _full_name(request, name),
        value,
        max_age=max_age,
        path=path,
        domain=domain,
        secure=options_of(request).secure_cookies,
        httponly=True,
        samesite="lax",
    )


def _clear_planted(request: Request, response: Response, name: str) -> None:
    """Clear the cookies of this name that the request may have been sent with, but the own one.

    No browser lets anybody set a `__Host-` cookie for another path or domain. A plain name can
    come from any path of this host and from the domains above it, and which of them it was is not
    in the request: each is cleared.
    """
    if options_of(request).secure_cookies or not _sent(request, name):
        return
    for domain in _domains(request):
        for path in _paths(request.scope):
            if (path, domain) != ("/", None):
                _set(request, response, name, "", 0, path=path, domain=domain)


def _paths(scope: Scope) -> list[str]:
    """Return the paths whose cookies a browser sends with a login, a refresh or a logout."""
    root: str = scope.get("root_path", "")
    paths = {"/"}
    for path in _PATHS_OF_REQUESTS:
        segments = (root + path).split("/")[1:]
        for length in range(1, len(segments)):
            folder = "/" + "/".join(segments[:length])
            paths |= {folder, folder + "/"}
        paths.add(root + path)
    return sorted(paths)


def _domains(request: Request) -> list[str | None]:
    """Return None for a cookie of this host alone, and each domain that can set one for it."""
    try:
        host = urlsplit("//" + request.headers.get("host", "")).hostname or ""
    except ValueError:
        host = ""
    labels = host.split(".")
    if not host.isascii() or not all(label.replace("-", "").isalnum() for label in labels):
        return [None]
    if labels[-1].isdigit():
        # An IPv4 address has no domains above it.
        return [None]
    above = [".".join(labels[start:]) for start in range(len(labels) - 1)]
    return [None, *above[-_MOST_DOMAINS:]]


def _sent(request: Request, name: str) -> list[Secret]:
    """Return the value of each cookie that has exactly this name, in the order sent.

    The header is read byte by byte (RFC 6265 §4.2.1): pairs are parted by semicolons, and around
    a name and a value nothing but spaces and tabs is left out (§5.2). The parser of the framework
    also strips every blank of Unicode, so that a browser would send a planted cookie whose name
    begins with a no-break space, and it keeps only the last of several.
    """
    wanted = _full_name(request, name).encode()
    found = []
    for header, line in request.scope["headers"]:
        if header != b"cookie":
            continue
        for pair in line.split(b";"):
            sent_name, equals, value = pair.partition(b"=")
            if equals and sent_name.strip(b" \t") == wanted:
                found.append(Secret(value.strip(b" \t").decode("latin-1")))
    return found


def _full_name(request: Request, name: str) -> str:
    return f"__Host-{name}" if options_of(request).secure_cookies else name


def _own_origin(request: Request) -> str:
    scheme: str = request.scope["scheme"]
    host = request.headers.get("host", "").lower()
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}"
