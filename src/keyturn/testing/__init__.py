"""Contract kits and stand-ins for tests; nothing that runs as a service imports them."""

from keyturn.testing.tokens import make_token, make_verifier, public_jwks

__all__ = ["make_token", "make_verifier", "public_jwks"]
