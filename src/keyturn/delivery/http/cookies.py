"""The refresh token as a cookie, and what a request that rests on it must prove.

The cookie is `HttpOnly`, `SameSite=Lax` and sent to `/v1/auth` alone. Requests that rest on it need
`X-Requested-With`, which no form and no link of another site can set, and whatever the browser
says of their origin must be right (OWASP ASVS 5.0 V3.5.1).
"""

from fastapi import Request, Response

from keyturn.delivery.http.dependencies import options_of
from keyturn.delivery.http.errors import CsrfRejected
from keyturn.domain.secret import Secret
from keyturn.use_cases.token_pair import TokenPair

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def has_refresh_cookie(request: Request) -> bool:
    """Whether the browser sent a refresh cookie, good or bad."""
    return _name(request) in request.cookies


def refresh_token_from_cookie(request: Request) -> Secret | None:
    """Return the refresh token in the cookie, None without one.

    Raises:
        CsrfRejected: there is a cookie, and the request may come from another site.
    """
    token = request.cookies.get(_name(request))
    if not token:
        return None
    if "x-requested-with" not in request.headers:
        raise CsrfRejected
    check_origin(request)
    return Secret(token)


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


def set_refresh_cookie(request: Request, response: Response, pair: TokenPair) -> None:
    """Put the refresh token of a pair into the cookie, for as long as it lives."""
    _set(request, response, pair.refresh_token.reveal(), pair.refresh_expires_in)


def clear_refresh_cookie(request: Request, response: Response) -> None:
    """Make the browser forget the cookie, if it sent one."""
    if has_refresh_cookie(request):
        _set(request, response, "", 0)


def _set(request: Request, response: Response, value: str, max_age: int) -> None:
    response.set_cookie(
        _name(request),
        value,
        max_age=max_age,
        path=f"{request.scope.get('root_path', '')}/v1/auth",
        secure=options_of(request).secure_cookies,
        httponly=True,
        samesite="lax",
    )


def _name(request: Request) -> str:
    # Browsers take a cookie of this prefix only over TLS (RFC 6265bis §4.1.3.1).
    secure = options_of(request).secure_cookies
    return "__Secure-keyturn_refresh" if secure else "keyturn_refresh"


def _own_origin(request: Request) -> str:
    scheme: str = request.scope["scheme"]
    host = request.headers.get("host", "").lower()
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}"
