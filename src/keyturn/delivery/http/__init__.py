"""keyturn over HTTP: the app, and what the routes of another app need of it."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyturn.delivery.http.access_problems import ACCESS_PROBLEMS
    from keyturn.delivery.http.app import build_app
    from keyturn.delivery.http.authorization import (
        require_any_permission,
        require_any_role,
        require_permission,
        require_role,
    )
    from keyturn.delivery.http.dependencies import CurrentPrincipal, CurrentUser, OptionalPrincipal
    from keyturn.delivery.http.error_answers import handle_keyturn_errors
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

_MODULES = {
    "ACCESS_PROBLEMS": "access_problems",
    "CurrentPrincipal": "dependencies",
    "CurrentUser": "dependencies",
    "HttpOptions": "services",
    "OptionalPrincipal": "dependencies",
    "Services": "services",
    "build_app": "app",
    "handle_keyturn_errors": "error_answers",
    "require_any_permission": "authorization",
    "require_any_role": "authorization",
    "require_permission": "authorization",
    "require_role": "authorization",
}


def __getattr__(name: str) -> object:
    # Where tokens are only verified, nothing is installed of what the app itself needs.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
