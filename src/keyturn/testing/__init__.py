"""Contract kits and stand-ins for tests; nothing that runs as a service imports them."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyturn.testing.tokens import make_token, make_verifier, public_jwks

__all__ = ["make_token", "make_verifier", "public_jwks"]


def __getattr__(name: str) -> object:
    # `InMemoryKeyturn` is in this package too, and needs nothing of what signs and fetches keys.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.tokens"), name)
