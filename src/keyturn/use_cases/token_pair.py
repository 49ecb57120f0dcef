"""What a login and a refresh hand out."""

from dataclasses import dataclass
from datetime import datetime

from keyturn.domain.claims import AccessClaims
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.policies import ClaimsPolicy, SessionPolicy
from keyturn.domain.refresh_token_family import RefreshTokenFamily
from keyturn.domain.secret import Secret
from keyturn.domain.user import User
from keyturn.ports.system import IdGenerator
from keyturn.ports.tokens import TokenCodec

REFRESH_AFTER = 0.8
"""The part of an access token's life after which a client should refresh."""

MAX_TOLD = 3072
"""Characters of the names of roles and permissions that an access token tells.

A token is sent in a header, and servers take one of about 8 KiB.
"""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token and the refresh token that follows it.

    Attributes:
        issued_at, expires_at, refresh_expires_at: aware UTC.
        scope: what the access token is limited to, None where it is not.
        key_thumbprint: the key that both are bound to, None where they are not.
        device_token: what makes the device known at the next login; None after a refresh.
    """

    access_token: Secret
    refresh_token: Secret
    user_id: UserId
    session_id: FamilyId
    issued_at: datetime
    expires_at: datetime
    refresh_expires_at: datetime
    scope: frozenset[str] | None
    key_thumbprint: str | None
    device_token: Secret | None = None

    @property
    def expires_in(self) -> int:
        """Seconds that the access token lives."""
        return int((self.expires_at - self.issued_at).total_seconds())

    @property
    def refresh_expires_in(self) -> int:
        """Seconds that the refresh token lives, unless it is used before."""
        return max(0, int((self.refresh_expires_at - self.issued_at).total_seconds()))

    @property
    def refresh_after(self) -> int:
        """Seconds after which a client should refresh."""
        return int(self.expires_in * REFRESH_AFTER)


class TokenIssuer:
    """Signs the pair of tokens that a family is worth; shared by login and refresh."""

    def __init__(
        self,
        codec: TokenCodec,
        ids: IdGenerator,
        policy: SessionPolicy,
        claims_policy: ClaimsPolicy,
    ) -> None:
        """Sign with `codec`, for as long as `policy` says, telling what `claims_policy` says."""
        self._codec = codec
        self._ids = ids
        self._policy = policy
        self._claims_policy = claims_policy

    async def issue(
        self,
        family: RefreshTokenFamily,
        user: User,
        now: datetime,
        *,
        scope: frozenset[str] | None,
    ) -> TokenPair:
        """Return a fresh access token and the family's live refresh token.

        Args:
            scope: what the access token is limited to, None for all that the user may.

        Raises:
            Unavailable: the signing key can't be reached.
        """
        issued_at = now.replace(microsecond=0)
        # No access token outlives the session that it belongs to.
        expires_at = min(
            issued_at + self._policy.access_ttl, family.expires_at.replace(microsecond=0)
        )
        roles, permissions = _told(user, self._claims_policy)
        access_token = await self._codec.encode_access(
            AccessClaims(
                token_id=self._ids.token_id(),
                user_id=user.id,
                family_id=family.id,
                client_id=family.client_id,
                epoch=user.epoch,
                roles=roles,
                permissions=permissions,
                scope=scope,
                issued_at=issued_at,
                expires_at=expires_at,
                key_thumbprint=family.key_thumbprint,
            )
        )
        refresh_claims = family.live_refresh_claims()
        return TokenPair(
            access_token=access_token,
            refresh_token=await self._codec.encode_refresh(refresh_claims),
            user_id=user.id,
            session_id=family.id,
            issued_at=issued_at,
            expires_at=expires_at,
            refresh_expires_at=refresh_claims.expires_at,
            scope=scope,
            key_thumbprint=family.key_thumbprint,
        )


def _told(user: User, policy: ClaimsPolicy) -> tuple[frozenset[str], frozenset[str] | None]:
    """Return the roles and permissions that the token tells: fewer where they are too many for it.

    What it does not tell is looked up where it is asked for, as under a policy that tells less.
    """
    roles, permissions = user.role_names, user.permissions
    if policy is ClaimsPolicy.ROLES_AND_PERMISSIONS and _fit(*roles, *permissions):
        return roles, permissions
    if policy is not ClaimsPolicy.NONE and _fit(*roles):
        return roles, None
    return frozenset(), None


def _fit(*names: str) -> bool:
    # Each stands between quotes, with a comma.
    return sum(len(name) + 3 for name in names) <= MAX_TOLD
