"""Another service asks what a token is worth."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keyturn.domain.client import Client
from keyturn.domain.errors import (
    ClientNotAllowed,
    InvalidAccessToken,
    InvalidClient,
    InvalidRefreshToken,
)
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.resource import Resources
from keyturn.domain.secret import Secret
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock
from keyturn.ports.tokens import TokenCodec
from keyturn.use_cases.revocation_replica import RevocationReplica


class TokenKind(StrEnum):
    """Which of the two kinds a token is of."""

    ACCESS = "access"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class ActiveToken:
    """A token that is good at this moment.

    Attributes:
        audience: whom the token is for; the issuer itself for a refresh token.
        auth_time: when the person last proved who they are, aware UTC; None for a refresh token.
        roles: what the user has, empty where the token is limited to a scope.
        permissions: what the token is good for: the user's permissions, within its scope.
        issued_at, expires_at: aware UTC.
        key_thumbprint: the key that it is bound to, None for none: whoever asks must see a proof.
    """

    kind: TokenKind
    token_id: TokenId
    user_id: UserId
    session_id: FamilyId
    client_id: str
    audience: str
    roles: frozenset[str]
    permissions: frozenset[str]
    auth_time: datetime | None
    issued_at: datetime
    expires_at: datetime
    key_thumbprint: str | None


class IntrospectToken:
    """Says what a token is worth, by the store and not by the token alone; changes nothing."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        codec: TokenCodec,
        revocations: RevocationReplica,
        clock: Clock,
        resources: Resources,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._codec = codec
        self._revocations = revocations
        self._clock = clock
        self._resources = resources

    async def execute(self, client: Client, token: Secret) -> ActiveToken | None:
        """Return what is to be told of a token of either kind, None if it is not good (RFC 7662).

        Only the live refresh token of a session is good: one that could still ask for the same
        successor again is none that anybody should act upon.

        A client sees only tokens for its own audience: for every other token the answer is None.
        A refresh token is for the issuer, so only a client whose audience is the issuer sees it.

        Raises:
            InvalidClient: the client is one that anybody may claim to be.
            ClientNotAllowed: the client may not introspect.
            RevocationsUnknown: nobody can tell at the moment whether an access token is revoked.
            StoreUnavailable: the store does not answer.
        """
        if client.is_public:
            raise InvalidClient
        if not client.introspects:
            raise ClientNotAllowed
        now = self._clock.now()
        audience = client.audience or self._resources.default_audience
        try:
            return await self._access(token, now, audience)
        except InvalidAccessToken:
            pass
        if audience != self._resources.issuer:
            return None
        try:
            return await self._refresh(token, now)
        except InvalidRefreshToken:
            return None

    async def _access(self, token: Secret, now: datetime, audience: str) -> ActiveToken | None:
        claims = self._codec.decode_access(token, now, audiences=frozenset({audience}))
        self._revocations.check(claims, now)
        async with self._unit_of_work() as uow:
            found = await uow.families.get_with_user(claims.family_id)
        if found is None:
            return None
        family, user = found
        # The copy of the revocations may be a little behind: the store is not.
        if (
            not family.is_live(now)
            or not user.is_active
            or user.id != claims.user_id
            or claims.epoch < user.epoch
        ):
            return None
        limited = claims.scope is not None
        return ActiveToken(
            kind=TokenKind.ACCESS,
            token_id=claims.token_id,
            user_id=claims.user_id,
            session_id=claims.family_id,
            client_id=claims.client_id,
            audience=claims.audience,
            roles=frozenset() if limited else user.role_names,
            permissions=_within(claims.scope, user.permissions),
            auth_time=claims.auth_time,
            issued_at=claims.issued_at,
            expires_at=claims.expires_at,
            key_thumbprint=claims.key_thumbprint,
        )

    async def _refresh(self, token: Secret, now: datetime) -> ActiveToken | None:
        claims = self._codec.decode_refresh(token)
        async with self._unit_of_work() as uow:
            found = await uow.families.get_with_user(claims.family_id)
        if found is None:
            return None
        family, user = found
        if (
            not family.is_live(now)
            or not user.is_active
            or user.id != claims.user_id
            or family.current != claims.token_id
        ):
            return None
        return ActiveToken(
            kind=TokenKind.REFRESH,
            token_id=claims.token_id,
            user_id=claims.user_id,
            session_id=claims.family_id,
            client_id=family.client_id,
            audience=self._resources.issuer,
            roles=frozenset() if family.scope is not None else user.role_names,
            permissions=_within(family.scope, user.permissions),
            auth_time=None,
            issued_at=claims.issued_at,
            expires_at=claims.expires_at,
            key_thumbprint=family.key_thumbprint,
        )


def _within(scope: frozenset[str] | None, permissions: frozenset[str]) -> frozenset[str]:
    return permissions if scope is None else permissions & scope
