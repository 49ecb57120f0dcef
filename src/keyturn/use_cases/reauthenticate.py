"""Somebody who is logged in proves again who they are."""

from dataclasses import dataclass, field

from keyturn.domain.errors import InvalidAccessToken
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.principal import Principal
from keyturn.domain.refresh_token_family import RefreshTokenFamily
from keyturn.domain.secret import Secret
from keyturn.domain.user import User
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.audiences import Audiences
from keyturn.use_cases.current_password import CurrentPassword
from keyturn.use_cases.token_pair import AccessToken, TokenIssuer


@dataclass(frozen=True, slots=True)
class ReauthenticateCommand:
    """The caller, and the password that proves who they are."""

    principal: Principal
    password: Secret
    origin: Origin = field(default_factory=Origin)


class Reauthenticate:
    """Issues an access token whose `auth_time` is now, for the sensitive routes (RFC 9470).

    The session keeps the time of its login. A refresh token that was stolen before or afterwards
    therefore never gives a recent access token.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        current_password: CurrentPassword,
        tokens: TokenIssuer,
        audiences: Audiences,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._current_password = current_password
        self._tokens = tokens
        self._audiences = audiences
        self._clock = clock
        self._ids = ids

    async def execute(self, command: ReauthenticateCommand) -> AccessToken:
        """Check the password and return an access token for the issuer.

        The token belongs to the caller's session, is bound to the same key, and has at most the
        scope of the token that the caller presented.

        Raises:
            WrongCurrentPassword, TooManyAttempts: see `CurrentPassword`.
            PasswordNotText, PasswordTooLong: nobody's password can look like this.
            InvalidTarget: the session's client may not ask for the issuer.
            InvalidAccessToken: the session has ended, or the user is gone or disabled.
            Unavailable: the hasher is busy, or the store or the signing key can't be reached.
        """
        principal = command.principal
        audience = await self._audiences.of_issuer(principal.client_id)
        async with self._unit_of_work() as uow:
            _, user = await self._session(uow, principal)
        await self._current_password.check(user, command.password, command.origin)
        await self._tokens.prepare()
        # Checking a password takes a while: what ended the session meanwhile must win.
        async with self._unit_of_work() as uow:
            family, user = await self._session(uow, principal)
            now = self._clock.now()
            token = await self._tokens.issue_access(
                family, user, now, audience=audience, scope=principal.scope, auth_time=now
            )
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.REAUTHENTICATED,
                    actor=user.id,
                    subject=user.id,
                    session=family.id,
                    origin=command.origin,
                )
            )
            await uow.commit()
        return token

    async def _session(
        self, uow: UnitOfWork, principal: Principal
    ) -> tuple[RefreshTokenFamily, User]:
        """Return the caller's session and user, as stored at this moment."""
        found = await uow.families.get_with_user(principal.session_id)
        if found is None:
            raise InvalidAccessToken
        family, user = found
        if (
            user.id != principal.user_id
            or not family.is_live(self._clock.now())
            or not user.is_active
            or principal.epoch < user.epoch
        ):
            raise InvalidAccessToken
        return family, user
