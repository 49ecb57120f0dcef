"""Somebody logs out."""

from dataclasses import dataclass, field

from keyturn.domain.errors import AuthenticationRequired, InvalidRefreshToken
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import FamilyId
from keyturn.domain.principal import Principal
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.secret import Secret
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.tokens import TokenCodec


@dataclass(frozen=True, slots=True)
class RevokeFamilyCommand:
    """What names the session: its verified caller, its refresh token, or both.

    Attributes:
        more_refresh_tokens: further ones whose sessions end too, where a browser sent several
            cookies. One that is no good is passed over where another one names a session.
    """

    principal: Principal | None = None
    refresh_token: Secret | None = None
    more_refresh_tokens: tuple[Secret, ...] = ()
    origin: Origin = field(default_factory=Origin)


class RevokeFamily:
    """Ends the session that the caller is in."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        codec: TokenCodec,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._codec = codec
        self._clock = clock
        self._ids = ids

    async def execute(self, command: RevokeFamilyCommand) -> None:
        """End the session and its access tokens; one that has ended already is no error.

        A refresh token of any generation will do: who holds a copy may end the session, and may
        do nothing else with it.

        Raises:
            AuthenticationRequired: neither a caller nor a refresh token is given.
            InvalidRefreshToken: only a refresh token is given and it is not a good one.
            StoreUnavailable: the store does not answer.
        """
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            for family_id in self._named(command):
                family = await uow.families.get(family_id)
                # Whatever ended it has killed its access tokens too: nobody lengthens the list
                # by presenting the token of an ended session again and again.
                if family is None or family.revoked_at is not None:
                    continue
                uow.families.revoke(family.id, now, RevokeReason.LOGOUT)
                uow.revocations.add_session(family.id, now)
                uow.audit.add(
                    AuditEvent(
                        self._ids.event_id(),
                        now,
                        AuditEventType.SESSION_REVOKED,
                        actor=family.user_id,
                        subject=family.user_id,
                        session=family.id,
                        origin=command.origin,
                        details={"reason": RevokeReason.LOGOUT},
                    )
                )
            await uow.commit()

    def _named(self, command: RevokeFamilyCommand) -> set[FamilyId]:
        families: set[FamilyId] = set()
        if command.principal is not None:
            families.add(command.principal.session_id)
        presented = [command.refresh_token] if command.refresh_token is not None else []
        presented += command.more_refresh_tokens
        for token in presented:
            try:
                families.add(self._codec.decode_refresh(token).family_id)
            except InvalidRefreshToken:
                continue
        if not families:
            raise InvalidRefreshToken if presented else AuthenticationRequired
        return families
