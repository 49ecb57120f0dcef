"""Somebody logs out."""

from dataclasses import dataclass

from keyturn.domain.errors import AuthenticationRequired, InvalidRefreshToken
from keyturn.domain.ids import FamilyId
from keyturn.domain.principal import Principal
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.secret import Secret
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock
from keyturn.ports.tokens import TokenCodec


@dataclass(frozen=True, slots=True)
class RevokeFamilyCommand:
    """What names the session: its verified caller, its refresh token, or both."""

    principal: Principal | None = None
    refresh_token: Secret | None = None


class RevokeFamily:
    """Ends the session that the caller is in."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, codec: TokenCodec, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._codec = codec
        self._clock = clock

    async def execute(self, command: RevokeFamilyCommand) -> None:
        """End the session; one that has ended already is no error.

        A refresh token of any generation will do: who holds a copy may end the session, and may
        do nothing else with it.

        Raises:
            AuthenticationRequired: neither a caller nor a refresh token is given.
            InvalidRefreshToken: only a refresh token is given and it is not a good one.
            StoreUnavailable: the store does not answer.
        """
        now = self._clock.now()
        families: set[FamilyId] = set()
        if command.principal is not None:
            families.add(command.principal.session_id)
        if command.refresh_token is not None:
            try:
                families.add(self._codec.decode_refresh(command.refresh_token).family_id)
            except InvalidRefreshToken:
                if not families:
                    raise
        if not families:
            raise AuthenticationRequired
        async with self._unit_of_work() as uow:
            for family_id in families:
                uow.families.revoke(family_id, now, RevokeReason.LOGOUT)
            await uow.commit()
