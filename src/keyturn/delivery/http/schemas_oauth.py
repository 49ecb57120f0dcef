"""What the routes for OAuth clients give, as OpenAPI tells it."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from keyturn.delivery.http.bearer import PROOF_ALGORITHMS
from keyturn.delivery.http.schemas import (
    EXAMPLE_SESSION_ID,
    EXAMPLE_USER_ID,
    example_answer,
    token_type,
)
from keyturn.delivery.http.services import HttpOptions
from keyturn.domain.refresh_token_family import DEFAULT_CLIENT_ID
from keyturn.domain.revocation import Revocation, RevocationKind
from keyturn.domain.user import ADMIN_ROLE
from keyturn.ports.revocations import RevocationPage
from keyturn.use_cases.introspect_token import ActiveToken, TokenKind

_EXAMPLE_TOKEN_ID = "0b8e9c1d-52c4-4c9e-a3a0-4d5a0f3a9a11"
_EXAMPLE_REVOCATION: dict[str, JsonValue] = {
    "kind": "sid",
    "subject": EXAMPLE_SESSION_ID,
    "epoch": 0,
    "expires_at": "2030-01-01T12:16:00Z",
}


class Confirmation(BaseModel):
    """The key that a token is bound to (RFC 7800 §3.1, RFC 9449 §6.2)."""

    model_config = ConfigDict(defer_build=True)

    jkt: str = Field(description="The key's thumbprint (RFC 7638).")


class Introspection(BaseModel):
    """What a token is worth (RFC 7662 §2.2); nothing but `active` where it is not good."""

    model_config = example_answer(
        active=True,
        scope="profile:read profile:write",
        client_id=DEFAULT_CLIENT_ID,
        token_type="Bearer",
        exp=1893500100,
        iat=1893499200,
        sub=EXAMPLE_USER_ID,
        aud="keyturn",
        auth_time=1893499200,
        iss="https://auth.example.com",
        jti=_EXAMPLE_TOKEN_ID,
        sid=EXAMPLE_SESSION_ID,
        roles=["user"],
    )

    active: bool
    scope: str | None = Field(
        default=None, description="The permissions that it is good for, separated by spaces."
    )
    client_id: str | None = None
    token_type: Literal["Bearer", "DPoP", "refresh_token"] | None = Field(
        default=None, description="`refresh_token` is none that a resource may be shown for."
    )
    cnf: Confirmation | None = Field(
        default=None, description="Present where the token is good only with a proof of this key."
    )
    exp: int | None = None
    iat: int | None = None
    auth_time: int | None = Field(
        default=None, description="When the person last proved who they are (RFC 9470 §6.2)."
    )
    sub: UUID | None = None
    aud: str | None = None
    iss: str | None = None
    jti: UUID | None = None
    sid: UUID | None = None
    roles: list[str] | None = Field(
        default=None, description="None of them where the token is limited to a scope."
    )

    @staticmethod
    def of(token: ActiveToken | None, options: HttpOptions) -> "Introspection":
        """Return the answer for a token that is good, or for None."""
        if token is None:
            return Introspection(active=False)
        is_access = token.kind is TokenKind.ACCESS
        return Introspection(
            active=True,
            scope=" ".join(sorted(token.permissions)) or None,
            client_id=token.client_id,
            token_type=token_type(token.key_thumbprint) if is_access else "refresh_token",
            cnf=None if token.key_thumbprint is None else Confirmation(jkt=token.key_thumbprint),
            exp=int(token.expires_at.timestamp()),
            iat=int(token.issued_at.timestamp()),
            auth_time=None if token.auth_time is None else int(token.auth_time.timestamp()),
            sub=token.user_id,
            aud=token.audience,
            iss=options.issuer,
            jti=token.token_id,
            sid=token.session_id,
            roles=sorted(token.roles),
        )


class RevocationItem(BaseModel):
    """Access tokens that must die before they expire."""

    model_config = example_answer(**_EXAMPLE_REVOCATION)

    kind: RevocationKind = Field(description="The claim to look at.")
    subject: UUID = Field(description="Its value: a token's, a session's or a user's id.")
    epoch: int = Field(description="For `sub`: tokens of an `epoch` below this one are dead.")
    expires_at: datetime = Field(description="By then they have expired by themselves.")

    @staticmethod
    def of(revocation: Revocation) -> "RevocationItem":
        """Return the answer for an entry."""
        return RevocationItem(
            kind=revocation.kind,
            subject=revocation.subject,
            epoch=revocation.epoch,
            expires_at=revocation.expires_at,
        )


class RevocationFeed(BaseModel):
    """What was revoked since a cursor, and the cursor to go on from."""

    model_config = example_answer(revocations=[_EXAMPLE_REVOCATION], cursor="42")

    revocations: list[RevocationItem]
    cursor: str

    @staticmethod
    def of(page: RevocationPage) -> "RevocationFeed":
        """Return the answer for a page, its entries in an order of their own."""
        entries = sorted(set(page.revocations), key=lambda r: (r.kind, r.subject.int, r.epoch))
        return RevocationFeed(
            revocations=[RevocationItem.of(entry) for entry in entries], cursor=page.cursor
        )


class ServerMetadata(BaseModel):
    """What an OAuth client needs to know of the service (RFC 8414 §2)."""

    model_config = example_answer(
        issuer="https://auth.example.com",
        token_endpoint="https://auth.example.com/oauth/token",
        revocation_endpoint="https://auth.example.com/oauth/revoke",
        introspection_endpoint="https://auth.example.com/oauth/introspect",
        jwks_uri="https://auth.example.com/.well-known/jwks.json",
        scopes_supported=["profile:read", "profile:write"],
        response_types_supported=[],
        grant_types_supported=["password", "refresh_token"],
        token_endpoint_auth_methods_supported=["none", "client_secret_basic"],
        revocation_endpoint_auth_methods_supported=["none", "client_secret_basic"],
        introspection_endpoint_auth_methods_supported=["client_secret_basic"],
        service_documentation="https://auth.example.com/docs",
    )

    issuer: str
    token_endpoint: str
    revocation_endpoint: str
    introspection_endpoint: str
    jwks_uri: str
    scopes_supported: list[str] = Field(description="Those that are built in; roles add others.")
    response_types_supported: list[str] = Field(
        description="None: there is no authorization endpoint."
    )
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    introspection_endpoint_auth_methods_supported: list[str]
    dpop_signing_alg_values_supported: list[str] | None = Field(
        default=None, description="Absent where tokens can't be bound to a key (RFC 9449 §5.1)."
    )
    service_documentation: str

    @staticmethod
    def of(options: HttpOptions) -> "ServerMetadata":
        """Return the answer for a deployment."""
        perhaps_public = ["none", "client_secret_basic"]
        return ServerMetadata(
            issuer=options.issuer,
            token_endpoint=options.url("/oauth/token"),
            revocation_endpoint=options.url("/oauth/revoke"),
            introspection_endpoint=options.url("/oauth/introspect"),
            jwks_uri=options.url("/.well-known/jwks.json"),
            scopes_supported=sorted(ADMIN_ROLE.permissions),
            response_types_supported=[],
            grant_types_supported=[
                *(["password"] if options.password_grant else []),
                "refresh_token",
            ],
            token_endpoint_auth_methods_supported=perhaps_public,
            revocation_endpoint_auth_methods_supported=perhaps_public,
            introspection_endpoint_auth_methods_supported=["client_secret_basic"],
            dpop_signing_alg_values_supported=list(PROOF_ALGORITHMS) if options.dpop else None,
            service_documentation=options.url("/docs"),
        )
