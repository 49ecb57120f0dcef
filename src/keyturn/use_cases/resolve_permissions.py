"""A route asks for a role or permission that the token does not tell."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keyturn.domain.errors import InvalidAccessToken
from keyturn.domain.ids import UserId
from keyturn.domain.principal import Principal
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock

MAX_REMEMBERED = 10_000
"""Users whose rights are remembered at the most."""


@dataclass(frozen=True, slots=True)
class _Rights:
    roles: frozenset[str]
    permissions: frozenset[str]
    until: datetime


class ResolvePermissions:
    """Fills in what the claims policy kept out of the token, and remembers it for a while."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, clock: Clock, remember: timedelta) -> None:
        """Ask the store, and again after `remember`."""
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._remember = remember
        self._rights: dict[tuple[UserId, int], _Rights] = {}

    async def execute(self, principal: Principal) -> Principal:
        """Return the principal with the roles and permissions that the user has.

        What is remembered belongs to the epoch of the token: a change of roles raises the epoch,
        so that a new token never meets old rights.

        Raises:
            InvalidAccessToken: the user is gone or disabled.
            StoreUnavailable: the store does not answer.
        """
        if principal.permissions is not None:
            return principal
        now = self._clock.now()
        key = (principal.user_id, principal.epoch)
        rights = self._rights.get(key)
        if rights is None or rights.until <= now:
            rights = await self._load(principal.user_id, now)
            if len(self._rights) >= MAX_REMEMBERED:
                self._rights.clear()
            self._rights[key] = rights
        return replace(principal, roles=rights.roles, permissions=rights.permissions)

    async def _load(self, user_id: UserId, now: datetime) -> _Rights:
        async with self._unit_of_work() as uow:
            user = await uow.users.get(user_id)
        if user is None or not user.is_active:
            raise InvalidAccessToken
        return _Rights(user.role_names, user.permissions, now + self._remember)
