"""Resources: the services that access tokens are for, and which token a request needs."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from keyturn.domain.errors import InvalidTarget

MAX_RESOURCE_LENGTH: Final = 255
"""Characters of a resource. It is the `aud` of tokens, which travel in a header."""

# RFC 3986 §2: the characters of a URI. "#" is missing, because it begins a fragment.
_ABSOLUTE_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+"
)


def require_resource(text: str) -> None:
    """Return if the text can name a resource: an absolute URI without a fragment (RFC 8707 §2).

    Raises:
        ValueError: the text is no such URI, or it is too long.
    """
    is_uri = _ABSOLUTE_URI.fullmatch(text) is not None and len(text) <= MAX_RESOURCE_LENGTH
    if not is_uri or not _names_a_host(text):
        raise ValueError(
            "a resource is an absolute URI without a fragment, such as https://notes.example,"
            f" of at most {MAX_RESOURCE_LENGTH} characters"
        )


def same_resource(one: str, other: str) -> bool:
    """Return whether people would read two names as the same resource.

    The case of scheme and host, and a slash at the end, make no difference. Tokens are compared
    exactly; this comparison only keeps two resources from having names that look alike.
    """
    return _folded(one) == _folded(other)


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Which access tokens a request accepts.

    Attributes:
        audiences: the accepted values of `aud`, compared exactly.
        resource: the `resource` that a client must ask for to get an accepted token.
        max_age: how long ago the person may have proved who they are; None for any time.
    """

    audiences: frozenset[str]
    resource: str
    max_age: timedelta | None = None

    @staticmethod
    def only(audience: str) -> "AccessRule":
        """Return the rule that accepts tokens for one audience and no other."""
        return AccessRule(frozenset({audience}), audience)


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of a deployment, and which access tokens its routes accept.

    Attributes:
        ordinary: for routes that show or change the caller, and in an app of one's own.
        sensitive: for routes that end or copy the account.
        administration: for routes about everybody.
        proxied: for a proxy that hands the token on to a service that it does not name.

    Args:
        issuer: the URL of the issuer; a resource that always exists.
        default_audience: the audience of tokens for which the client named no resource.
        declared: the other resources, as the operator declared them.
        recent_login: how old a proof of identity may be on the sensitive level.

    Raises:
        ValueError: two of these names look alike, or a declared one is no absolute URI.
    """

    issuer: str
    default_audience: str
    declared: frozenset[str] = frozenset()
    recent_login: timedelta = timedelta(minutes=5)
    ordinary: AccessRule = field(init=False)
    sensitive: AccessRule = field(init=False)
    administration: AccessRule = field(init=False)
    proxied: AccessRule = field(init=False)

    def __post_init__(self) -> None:
        if not self.issuer or not self.default_audience:
            raise ValueError("access tokens need an issuer and a default audience")
        if same_resource(self.default_audience, self.issuer):
            raise ValueError(
                "the default audience must differ from the issuer: a service that is shown a token"
                " for it could act on the account"
            )
        for resource in self.declared:
            require_resource(resource)
            if same_resource(resource, self.issuer):
                raise ValueError(f"{resource} is the issuer, which must not be declared")
            if same_resource(resource, self.default_audience):
                raise ValueError(f"{resource} is the default audience, which must not be declared")
        own = frozenset({self.default_audience, self.issuer})
        issuer = frozenset({self.issuer})
        # The dataclass is frozen: this is how its own constructor sets a field.
        for name, rule in (
            ("ordinary", AccessRule(own, self.default_audience)),
            ("sensitive", AccessRule(issuer, self.issuer, self.recent_login)),
            ("administration", AccessRule(issuer, self.issuer)),
            ("proxied", AccessRule.only(self.default_audience)),
        ):
            object.__setattr__(self, name, rule)

    @property
    def audiences(self) -> frozenset[str]:
        """Every audience that access tokens are issued for."""
        return self.declared | self.ordinary.audiences

    def audience_of(self, resource: str | None) -> str:
        """Return the audience of the token that a client gets for a `resource` (RFC 8707 §2).

        Args:
            resource: None where the client named none. The name of the default audience counts
                as naming none.

        Raises:
            InvalidTarget: there is no such resource.
        """
        if resource is None:
            return self.default_audience
        if resource not in self.audiences:
            raise InvalidTarget
        return resource


def _names_a_host(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    # A host is only missing where the scheme has none, as in urn:example:notes.
    return parts.scheme not in ("http", "https") or bool(parts.hostname)


def _folded(name: str) -> str:
    scheme, separator, rest = name.partition("://")
    if not separator:
        return name.rstrip("/")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower()}{slash}{path}".rstrip("/")
