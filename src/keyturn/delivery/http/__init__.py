"""keyturn over HTTP: the app, and what the routes of another app need of it."""

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.authorization import (
    require_any_permission,
    require_any_role,
    require_permission,
    require_role,
)
from keyturn.delivery.http.dependencies import CurrentPrincipal, CurrentUser, OptionalPrincipal
from keyturn.delivery.http.errors import handle_keyturn_errors
from keyturn.delivery.http.openapi import ACCESS_PROBLEMS
from keyturn.delivery.http.services import HttpOptions, Services

__all__ = [
    "ACCESS_PROBLEMS",
    "CurrentPrincipal",
    "CurrentUser",
    "HttpOptions",
    "OptionalPrincipal",
    "Services",
    "build_app",
    "handle_keyturn_errors",
    "require_any_permission",
    "require_any_role",
    "require_permission",
    "require_role",
]
