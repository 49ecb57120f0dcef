"""A client gives a token back."""

from dataclasses import dataclass, field

from keyturn.domain.claims import AccessClaims, RefreshClaims
from keyturn.domain.client import Client
from keyturn.domain.errors import (
    InvalidAccessToken,
    InvalidRefreshToken,
    RevocationsUnknown,
    TokenOfAnotherClient,
)
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.resource import Resources
from keyturn.domain.secret import Secret
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.tokens import TokenCodec
from keyturn.use_cases.revocation_replica import RevocationReplica
from keyturn.use_cases.revoke_family import RevokeFamily, RevokeFamilyCommand


@dataclass(frozen=True, slots=True)
class RevokeTokenCommand:
    """A token of either kind, and the client that wants it dead."""

    token: Secret
    client: Client
    origin: Origin = field(default_factory=Origin)


class RevokeToken:
    """Ends the session of a refresh token, or kills one access token."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        codec: TokenCodec,
        revocations: RevocationReplica,
        revoke_family: RevokeFamily,
        clock: Clock,
        ids: IdGenerator,
        resources: Resources,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._codec = codec
        self._revocations = revocations
        self._revoke_family = revoke_family
        self._clock = clock
        self._ids = ids
        self._resources = resources

    async def execute(self, command: RevokeTokenCommand) -> None:
        """Revoke a token (RFC 7009 §2); one that is good for nothing is no error (§2.2).

        A refresh token of any generation ends its session with all its access tokens; an access
        token dies alone.

        Raises:
            TokenOfAnotherClient: it was issued to another client (RFC 7009 §2.1).
            StoreUnavailable: the store does not answer.
        """
        now = self._clock.now()
        try:
            # A client may give back the tokens that it was issued, whatever they are for.
            claims = self._codec.decode_access(
                command.token, now, audiences=self._resources.audiences
            )
            await self._revoke_access(claims, command)
        except InvalidAccessToken:
            pass
        else:
            return
        try:
            refresh_claims = self._codec.decode_refresh(command.token)
        except InvalidRefreshToken:
            return
        await self._revoke_refresh(refresh_claims, command)

    async def _revoke_access(self, claims: AccessClaims, command: RevokeTokenCommand) -> None:
        if claims.client_id != command.client.id:
            raise TokenOfAnotherClient
        now = self._clock.now()
        try:
            self._revocations.check(claims, now)
        except InvalidAccessToken:
            # Dead already: whoever says so again and again must not fill the list.
            return
        except RevocationsUnknown:
            pass
        async with self._unit_of_work() as uow:
            uow.revocations.add_token(claims.token_id, claims.expires_at)
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.TOKEN_REVOKED,
                    actor=claims.user_id,
                    subject=claims.user_id,
                    session=claims.family_id,
                    origin=command.origin,
                    details={"client_id": command.client.id},
                )
            )
            await uow.commit()

    async def _revoke_refresh(self, claims: RefreshClaims, command: RevokeTokenCommand) -> None:
        async with self._unit_of_work() as uow:
            family = await uow.families.get(claims.family_id)
        if family is None:
            return
        if family.client_id != command.client.id:
            raise TokenOfAnotherClient
        if family.revoked_at is None:
            await self._revoke_family.execute(
                RevokeFamilyCommand(refresh_token=command.token, origin=command.origin)
            )
