"""A client trades its refresh token for the next one."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from keyturn.domain.errors import Contention, InvalidRefreshToken, StaleFamily
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.policies import SessionPolicy
from keyturn.domain.refresh_token_family import (
    DEFAULT_CLIENT_ID,
    PresentedToken,
    RefreshTokenFamily,
    Refuse,
    Replay,
    Reuse,
    RevokeReason,
    Rotate,
    decide,
)
from keyturn.domain.scope import Scope, narrowed_scope
from keyturn.domain.secret import Secret
from keyturn.domain.source import source_of
from keyturn.domain.user import User
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.proofs import CheckedProof
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.ports.tokens import TokenCodec
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.audiences import Audiences
from keyturn.use_cases.check_proof import CheckProof
from keyturn.use_cases.token_pair import TokenIssuer, TokenPair
from keyturn.use_cases.unanswered_rotations import UnansweredRotations


@dataclass(frozen=True, slots=True)
class RotateRefreshCommand:
    """The refresh token, who presents it, and from where.

    Attributes:
        proof: of the key that the client holds, None for no proof. Used up once the refresh token
            and the key belong to the session, not by a wrong one.
        resource: what the access token is for (RFC 8707); None for the default audience, whatever
            the access token before was for.
    """

    refresh_token: Secret
    origin: Origin = field(default_factory=Origin)
    client_id: str = DEFAULT_CLIENT_ID
    scope: Scope = None
    proof: CheckedProof | None = None
    resource: str | None = None


class RefreshOutcome(StrEnum):
    """Whether the tokens are new or the same successor again."""

    ROTATED = "rotated"
    REPLAYED = "replayed"


@dataclass(frozen=True, slots=True)
class RotateRefreshResult:
    """The tokens, and how they came about."""

    outcome: RefreshOutcome
    tokens: TokenPair


class RotateRefresh:
    """Rotates a refresh token, replays a lost answer, and ends the session of a stolen one."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        codec: TokenCodec,
        tokens: TokenIssuer,
        audiences: Audiences,
        clock: Clock,
        ids: IdGenerator,
        policy: SessionPolicy,
        throttle: Throttle,
        check_proof: CheckProof,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._codec = codec
        self._tokens = tokens
        self._audiences = audiences
        self._clock = clock
        self._ids = ids
        self._policy = policy
        self._throttle = throttle
        self._check_proof = check_proof
        self._unanswered = UnansweredRotations(policy.grace)

    async def execute(self, command: RotateRefreshCommand) -> RotateRefreshResult:
        """Refresh a session (RFC 6749 §6, RFC 9700 §4.14.2).

        Whatever fails with `Unavailable`, `TooManyAttempts`, `InvalidProof`, `InvalidScope` or
        `InvalidTarget` has not used up the token. A replay for another resource gives the same
        refresh token, with an access token for that resource.

        Every attempt is counted for its source. An attempt is counted for its session only if it
        rotates or replays: a copy of the token that another client presents, or that comes without
        the key, must not use up the allowance of the owner. Reuse is never throttled by session,
        so that no flood hides a theft.

        Raises:
            InvalidRefreshToken: the token is worth nothing. On reuse the whole family has been
                revoked, and that is committed, before this is raised.
            InvalidScope: the scope exceeds what the session was granted.
            InvalidTarget: there is no such resource, or the client may not ask for it.
            InvalidProof, ProofsBusy: see `CheckProof.use`. A copied request ends no session.
            TooManyAttempts: too many refreshes from the same source, or of the same session.
            Unavailable: the store or the signing key can't be reached.
        """
        await self._throttle.admit(ThrottledAction.REFRESH, source=source_of(command.origin.ip))
        claims = self._codec.decode_refresh(command.refresh_token)
        audience = await self._audiences.of(command.client_id, command.resource)
        presented = PresentedToken(
            family_id=claims.family_id,
            user_id=claims.user_id,
            token_id=claims.token_id,
            client_id=command.client_id,
            key_thumbprint=None if command.proof is None else command.proof.key_thumbprint,
        )
        await self._tokens.prepare()
        for attempt in range(MAX_ATTEMPTS):
            try:
                async with self._unit_of_work() as uow:
                    return await self._decide(
                        uow, presented, command, audience, is_first=attempt == 0
                    )
            except StaleFamily:
                continue
        raise Contention

    async def _decide(
        self,
        uow: UnitOfWork,
        presented: PresentedToken,
        command: RotateRefreshCommand,
        audience: str,
        *,
        is_first: bool,
    ) -> RotateRefreshResult:
        found = await uow.families.get_with_user(presented.family_id)
        if found is None:
            raise InvalidRefreshToken
        family, user = found
        now = self._clock.now()
        unanswered = self._unanswered.is_open(family.current, now)
        decision = decide(family, presented, now, self._policy, unanswered=unanswered)
        if is_first and not isinstance(decision, Refuse):
            await self._accept(decision, family, command)
        match decision:
            case Rotate():
                successor = family.rotated(self._ids.token_id(), now, self._policy, command.origin)
                # Signed before the commit: a key that can't be reached uses up no token.
                pair = await self._issue(successor, user, now, command, audience)
                uow.families.save(successor)
                # Before the commit: somebody may be handed the successor meanwhile. If the commit
                # fails, it may have been stored all the same, or still be.
                self._unanswered.note(successor.current)
                try:
                    await uow.commit()
                except StaleFamily:
                    self._unanswered.forget(successor.current)
                    raise
                except BaseException:
                    self._unanswered.leave_open(successor.current)
                    raise
                self._unanswered.forget(successor.current)
                return RotateRefreshResult(RefreshOutcome.ROTATED, pair)
            case Replay():
                pair = await self._issue(family, user, now, command, audience)
                self._note(uow, AuditEventType.REFRESH_REPLAYED, family, now, command.origin)
                await uow.commit()
                self._unanswered.hand_out(family.current, now)
                return RotateRefreshResult(RefreshOutcome.REPLAYED, pair)
            case Reuse():
                uow.families.revoke(family.id, now, RevokeReason.REUSE_DETECTED)
                uow.revocations.add_session(family.id, now)
                self._note(uow, AuditEventType.REUSE_DETECTED, family, now, command.origin)
                await uow.commit()
                raise InvalidRefreshToken
            case Refuse():
                raise InvalidRefreshToken

    async def _accept(
        self,
        decision: Rotate | Replay | Reuse,
        family: RefreshTokenFamily,
        command: RotateRefreshCommand,
    ) -> None:
        """Use up what an attempt with good credentials costs; once, however often it is decided."""
        # Before all else: a copied request must neither count nor end the session.
        self._check_proof.use(command.proof)
        if not isinstance(decision, Reuse):
            await self._throttle.admit(ThrottledAction.REFRESH, source=None, account=str(family.id))

    async def _issue(
        self,
        family: RefreshTokenFamily,
        user: User,
        now: datetime,
        command: RotateRefreshCommand,
        audience: str,
    ) -> TokenPair:
        if not user.is_active:
            raise InvalidRefreshToken
        scope = narrowed_scope(family.scope, command.scope, user.permissions)
        return await self._tokens.issue(family, user, now, audience=audience, scope=scope)

    def _note(
        self,
        uow: UnitOfWork,
        event: AuditEventType,
        family: RefreshTokenFamily,
        now: datetime,
        origin: Origin,
    ) -> None:
        uow.audit.add(
            AuditEvent(
                self._ids.event_id(),
                now,
                event,
                subject=family.user_id,
                session=family.id,
                origin=origin,
            )
        )
