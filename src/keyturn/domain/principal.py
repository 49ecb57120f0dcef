"""Who is calling, as a verified access token says."""

from dataclasses import dataclass
from datetime import datetime

from keyturn.domain.claims import AccessClaims
from keyturn.domain.ids import FamilyId, TokenId, UserId


@dataclass(frozen=True, slots=True)
class Principal:
    """The verified caller of a request; identity, not authorization.

    Attributes:
        audience: the one resource that the token is for.
        epoch: the user's epoch when the token was issued.
        roles: role names; empty under the claims policy `none`.
        permissions: None where the token does not say.
        scope: None where the token is not limited to a part of the user's permissions.
        auth_time: when the person last proved who they are, aware UTC.
        expires_at: when the token ends, aware UTC.
    """

    user_id: UserId
    session_id: FamilyId
    token_id: TokenId
    client_id: str
    audience: str
    epoch: int
    roles: frozenset[str]
    permissions: frozenset[str] | None
    scope: frozenset[str] | None
    auth_time: datetime
    expires_at: datetime

    @staticmethod
    def of(claims: AccessClaims) -> "Principal":
        """Return the caller that these verified claims speak of."""
        return Principal(
            user_id=claims.user_id,
            session_id=claims.family_id,
            token_id=claims.token_id,
            client_id=claims.client_id,
            audience=claims.audience,
            epoch=claims.epoch,
            roles=claims.roles,
            permissions=claims.permissions,
            scope=claims.scope,
            auth_time=claims.auth_time,
            expires_at=claims.expires_at,
        )

    def has_role(self, name: str) -> bool:
        """Whether the token names this role and is good for all that it permits.

        A token that is limited to a scope stands for less than any role of its user.
        """
        return self.scope is None and name in self.roles

    def has_permission(self, name: str) -> bool:
        """Whether the token names this permission and its scope, if it has one, leaves it."""
        return (
            self.permissions is not None
            and name in self.permissions
            and (self.scope is None or name in self.scope)
        )
