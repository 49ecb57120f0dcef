"""A program that asks for tokens, or asks about them, in the sense of OAuth 2 (RFC 6749 §2)."""

import hashlib
import hmac
import re
from dataclasses import dataclass

from keyturn.domain.refresh_token_family import DEFAULT_CLIENT_ID
from keyturn.domain.resource import require_resource
from keyturn.domain.secret import Secret

CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""The form of a client's id: the same in a header, a form and a file."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def secret_digest(secret: Secret) -> str:
    """Return the SHA-256 of a client's secret, in hex.

    A plain digest keeps only what nobody can guess: a generated secret of at least 128 bits
    (OWASP ASVS 5.0 V11.4.1), never one that a person chose.
    """
    return hashlib.sha256(secret.reveal().encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Client:
    """A client and what it may do besides asking for tokens.

    Args:
        id: its name, of the form of `CLIENT_ID`.
        secret_sha256: the `secret_digest` of its secret; None for a public client.
        introspects: whether it may ask what a token is worth (RFC 7662).
        reads_revocations: whether it may read the revocation feed.
        audience: the audience whose tokens it sees at introspection; None for the default one.
        resources: the resources that it may ask for, besides the default audience.

    Raises:
        ValueError: a part is malformed, or a public client is to do what takes a secret.
    """

    id: str
    secret_sha256: str | None = None
    introspects: bool = False
    reads_revocations: bool = False
    audience: str | None = None
    resources: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not CLIENT_ID.fullmatch(self.id):
            raise ValueError(
                "a client's id has up to 64 letters, digits, dots, dashes and underscores"
            )
        if self.secret_sha256 is None and (self.introspects or self.reads_revocations):
            raise ValueError("a client without a secret neither introspects nor reads revocations")
        if self.secret_sha256 is not None and not _DIGEST.fullmatch(self.secret_sha256):
            raise ValueError("secret_sha256 is not a SHA-256 in 64 lower-case hex digits")
        if self.audience == "":
            raise ValueError("the audience is empty")
        for resource in self.resources:
            require_resource(resource)

    def __repr__(self) -> str:
        return f"Client(id={self.id!r}, public={self.is_public})"

    @property
    def is_public(self) -> bool:
        """Whether it has no secret (RFC 6749 §2.1)."""
        return self.secret_sha256 is None

    def may_ask_for(self, resource: str) -> bool:
        """Whether it may ask for tokens for a resource other than the default audience.

        The built-in client may ask for every resource.
        """
        return self.id == DEFAULT_CLIENT_ID or resource in self.resources

    def is_proven_by(self, secret: Secret | None) -> bool:
        """Whether who presents this secret, or none, may act as the client; in constant time."""
        if self.secret_sha256 is None or secret is None:
            return self.secret_sha256 is None and secret is None
        return hmac.compare_digest(secret_digest(secret), self.secret_sha256)
