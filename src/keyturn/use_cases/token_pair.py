"""What a login and a refresh hand out."""

from dataclasses import dataclass
from datetime import datetime

from keyturn.domain.claims import AccessClaims
from keyturn.domain.errors import Contention
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.policies import ClaimsPolicy, SessionPolicy
from keyturn.domain.refresh_token_family import RefreshTokenFamily
from keyturn.domain.secret import Secret
from keyturn.domain.user import User
from keyturn.ports.deployment import DeploymentRecord
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


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token without a refresh token.

    Attributes:
        expires_in: seconds that the token lives.
        key_thumbprint: the key that the token is bound to, None where it is not bound.
    """

    token: Secret
    issued_at: datetime
    expires_at: datetime
    key_thumbprint: str | None

    @property
    def expires_in(self) -> int:
        """Seconds that the token lives."""
        return int((self.expires_at - self.issued_at).total_seconds())


class TokenIssuer:
    """Signs the tokens of a family; shared by login, refresh and reauthentication."""

    def __init__(
        self,
        codec: TokenCodec,
        ids: IdGenerator,
        policy: SessionPolicy,
        claims_policy: ClaimsPolicy,
        deployment: DeploymentRecord,
    ) -> None:
        """Sign with `codec`, for as long as `policy` says, telling what `claims_policy` says.

        Args:
            deployment: where the lifetime is recorded before the first token is issued.
        """
        self._codec = codec
        self._ids = ids
        self._policy = policy
        self._claims_policy = claims_policy
        self._deployment = deployment
        self._is_recorded = False

    async def prepare(self) -> None:
        """Record the lifetime of access tokens; costs nothing once that is done.

        A use-case must await this before it reads the session that it issues tokens for. A
        revocation that is committed between the reading and the recording would otherwise not know
        of the lifetime, and its entry could expire before the token.

        Raises:
            StoreUnavailable: the lifetime could not be recorded, so no token may be issued.
        """
        if not self._is_recorded:
            await self._deployment.record_access_ttl(self._policy.access_ttl)
            self._is_recorded = True

    async def issue(
        self,
        family: RefreshTokenFamily,
        user: User,
        now: datetime,
        *,
        audience: str,
        scope: frozenset[str] | None,
    ) -> TokenPair:
        """Return a fresh access token and the family's live refresh token.

        The login of the family is the `auth_time` of the access token.

        Args:
            audience: the one resource that the access token is for.
            scope: what the access token is limited to, None for all that the user may.

        Raises:
            Contention: the lifetime of access tokens was not recorded when the session was read.
                It is now, so the caller reads again or asks the client to.
            Unavailable: the signing key or the store can't be reached.
        """
        access = await self.issue_access(
            family, user, now, audience=audience, scope=scope, auth_time=family.created_at
        )
        refresh_claims = family.live_refresh_claims()
        return TokenPair(
            access_token=access.token,
            refresh_token=await self._codec.encode_refresh(refresh_claims),
            user_id=user.id,
            session_id=family.id,
            issued_at=access.issued_at,
            expires_at=access.expires_at,
            refresh_expires_at=refresh_claims.expires_at,
            scope=scope,
            key_thumbprint=family.key_thumbprint,
        )

    async def issue_access(
        self,
        family: RefreshTokenFamily,
        user: User,
        now: datetime,
        *,
        audience: str,
        scope: frozenset[str] | None,
        auth_time: datetime,
    ) -> AccessToken:
        """Return a fresh access token of a family, and leave the family as it is.

        Args:
            audience: the one resource that the token is for.
            scope: what the token is limited to, None for all that the user may.
            auth_time: when the person last proved who they are.

        Raises:
            Contention: the lifetime of access tokens was not recorded when the session was read.
                It is now, so the caller reads again or asks the client to.
            Unavailable: the signing key or the store can't be reached.
        """
        if not self._is_recorded:
            await self.prepare()
            raise Contention
        issued_at = now.replace(microsecond=0)
        # No access token outlives the session that it belongs to.
        expires_at = min(
            issued_at + self._policy.access_ttl, family.expires_at.replace(microsecond=0)
        )
        roles, permissions = _told(user, self._claims_policy)
        token = await self._codec.encode_access(
            AccessClaims(
                token_id=self._ids.token_id(),
                user_id=user.id,
                family_id=family.id,
                client_id=family.client_id,
                audience=audience,
                epoch=user.epoch,
                roles=roles,
                permissions=permissions,
                scope=scope,
                # The clock of the worker that saw the login may be ahead of this one.
                auth_time=min(auth_time.replace(microsecond=0), issued_at),
                issued_at=issued_at,
                expires_at=expires_at,
                key_thumbprint=family.key_thumbprint,
            )
        )
        return AccessToken(token, issued_at, expires_at, family.key_thumbprint)


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
