"""From use-cases and options to an app."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Lifespan

from keyturn.delivery.http import (
    docs,
    pages,
    routes_accounts,
    routes_admin,
    routes_auth,
    routes_health,
    routes_keys,
    routes_metadata,
    routes_oauth,
    routes_revocations,
    routes_sessions,
    routes_users,
)
from keyturn.delivery.http.error_answers import handle_all_errors
from keyturn.delivery.http.middleware import (
    BodyLimitMiddleware,
    RequestMiddleware,
    TrustedProxyMiddleware,
    UnexpectedErrorMiddleware,
    security_headers,
)
from keyturn.delivery.http.observation import RequestObserver
from keyturn.delivery.http.openapi import DescribedApp
from keyturn.delivery.http.routes_keys import PublishedKeys
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.delivery.http.short_paths import ShortPathsMiddleware

_DESCRIPTION = """\
Registers people, checks passwords, hands out short-lived access tokens and rotating refresh
tokens, and notices when a refresh token was stolen.

Errors are `application/problem+json` (RFC 9457) with a stable `code`; under `/oauth/` they are
those of RFC 6749.
"""

_TAGS = [
    {"name": "Signing in", "description": "Accounts, tokens, and who a token belongs to."},
    {"name": "Accounts", "description": "Addresses that are shown to be one's own, and passwords."},
    {"name": "Profile", "description": "What somebody may see and change of themselves."},
    {"name": "Sessions", "description": "Where somebody is logged in."},
    {"name": "Administration", "description": "What operators may see and change of everybody."},
    {"name": "OAuth 2", "description": "The same logins for OAuth 2 clients."},
    {"name": "Operations", "description": "For whoever runs the service."},
]


def build_app(
    services: Services,
    options: HttpOptions,
    *,
    lifespan: Lifespan[FastAPI] | None = None,
    observers: Sequence[RequestObserver] = (),
    published_keys: PublishedKeys | None = None,
) -> FastAPI:
    """Return the app that offers `services` over HTTP.

    Everything that it needs is in its own state: any number of apps live in one process.

    Args:
        services: the use-cases.
        options: what the deployment chooses about the wire.
        lifespan: opens and closes what the use-cases work with.
        observers: who is told of each request when it is over.
        published_keys: what `/.well-known/jwks.json` answers; None for no such route.

    Raises:
        ValueError: `allowed_origins` has a wildcard, which with cookies would let every site in.
    """
    if "*" in options.allowed_origins:
        raise ValueError("each allowed origin must be named: '*' would let every site in")
    routers = [
        routes_auth.router,
        routes_accounts.router,
        routes_users.router,
        routes_sessions.router,
        routes_admin.router,
        routes_oauth.router,
        routes_metadata.router,
        routes_revocations.router,
        routes_health.router,
        pages.router,
        *([docs.router] if options.docs else []),
        *([] if published_keys is None else [routes_keys.router]),
    ]
    app = DescribedApp(
        title="keyturn",
        version="1",
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        docs_url=None,
        openapi_url="/openapi.json" if options.docs else None,
        redoc_url=None,
        # A redirect would send passwords to wherever the Host header says.
        redirect_slashes=False,
        # As they are: `include_router` would analyse each once more, and keep both.
        routes=[route for router in routers for route in router.routes],
        middleware=_middleware(options, observers),
        lifespan=lifespan,
        # Its spans would hold paths and queries, and it is asked for at every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.keyturn = services
    app.state.keyturn_http = options
    app.describe_tokens_from(options.issuer_path if options.password_grant else None)
    handle_all_errors(app)
    app.state.keyturn_published_keys = published_keys
    routes_metadata.answer_where_clients_ask(app, options)
    return app


def _middleware(options: HttpOptions, observers: Sequence[RequestObserver]) -> list[Middleware]:
    """Return what stands around every request, the outermost first."""
    stack = [
        Middleware(
            RequestMiddleware,
            observers=observers,
            headers=security_headers(https=options.issuer.startswith("https:")),
        ),
        Middleware(UnexpectedErrorMiddleware),
        Middleware(BodyLimitMiddleware, max_bytes=options.max_body_bytes),
        Middleware(ShortPathsMiddleware),
    ]
    if options.allowed_origins:
        # Outside of what answers errors, so that a page of an allowed origin can read them.
        cors = Middleware(
            CORSMiddleware,
            allow_origins=options.allowed_origins,
            allow_credentials=True,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=(
                "Authorization",
                "Content-Type",
                "DPoP",
                "If-Match",
                "X-Requested-With",
                "X-Request-ID",
            ),
            expose_headers=(
                "X-Request-ID",
                "Retry-After",
                "WWW-Authenticate",
                "DPoP-Nonce",
                "ETag",
            ),
        )
        stack.insert(1, cors)
    if options.trusted_proxies:
        proxies = Middleware(TrustedProxyMiddleware, trusted_hosts=list(options.trusted_proxies))
        stack.insert(0, proxies)
    return stack
