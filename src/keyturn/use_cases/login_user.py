"""Somebody logs in on a device."""

from dataclasses import dataclass, field

from keyturn.domain.errors import Contention, HashingBusy, InvalidCredentials, StaleUser
from keyturn.domain.events import AuditEvent, AuditEventType, LoginFailure, Origin
from keyturn.domain.policies import PasswordPolicy, SessionPolicy
from keyturn.domain.refresh_token_family import (
    DEFAULT_CLIENT_ID,
    Device,
    RefreshTokenFamily,
    RevokeReason,
    families_to_evict,
)
from keyturn.domain.revocation import Revocation
from keyturn.domain.scope import Scope, granted_scope
from keyturn.domain.secret import Secret
from keyturn.domain.user import User
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.token_pair import TokenIssuer, TokenPair


@dataclass(frozen=True, slots=True)
class LoginUserCommand:
    """Who logs in, from where, and for what.

    Attributes:
        key_thumbprint: the key that the session is bound to, None for none.
    """

    email: str
    password: Secret
    device_name: str | None = None
    origin: Origin = field(default_factory=Origin)
    client_id: str = DEFAULT_CLIENT_ID
    scope: Scope = None
    key_thumbprint: str | None = None


class LoginUser:
    """Checks a password and starts a refresh token family."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        tokens: TokenIssuer,
        clock: Clock,
        ids: IdGenerator,
        password_policy: PasswordPolicy,
        session_policy: SessionPolicy,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._tokens = tokens
        self._clock = clock
        self._ids = ids
        self._password_policy = password_policy
        self._session_policy = session_policy

    async def execute(self, command: LoginUserCommand) -> TokenPair:
        """Log in and return the tokens of a new session.

        The least recently used sessions beyond the limit end with reason `evicted`. The password
        is hashed again if today's parameters differ from those of the stored hash.

        Raises:
            InvalidCredentials: unknown address, wrong password or disabled user; the work done
                for each is the same.
            InvalidEmail, PasswordNotText, PasswordTooLong: nobody's credentials can look like this.
            InvalidScope: the user may do nothing of the scope.
            Unavailable: the hasher is busy or the store does not answer.
        """
        password = self._password_policy.normalise(command.password)
        verified, verified_hash = False, None
        for _ in range(MAX_ATTEMPTS):
            # No unit of work stays open while a password is hashed: it would hold a connection.
            async with self._unit_of_work() as uow:
                user = await uow.users.get_by_email(command.email)
            if user is None or user.password_hash != verified_hash:
                password_hash = None if user is None else user.password_hash
                verified = await self._hasher.verify(password_hash, password)
            if user is None or not verified or not user.is_active:
                await self._note_failure(user, verified=verified, origin=command.origin)
                raise InvalidCredentials
            verified_hash = user.password_hash
            try:
                return await self._start_session(user, password, command)
            except StaleUser:
                continue
        raise Contention

    async def _note_failure(self, user: User | None, *, verified: bool, origin: Origin) -> None:
        if user is None:
            reason = LoginFailure.UNKNOWN_EMAIL
        elif not verified:
            reason = LoginFailure.WRONG_PASSWORD
        else:
            reason = LoginFailure.USER_DISABLED
        async with self._unit_of_work() as uow:
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    self._clock.now(),
                    AuditEventType.LOGIN_FAILED,
                    subject=None if user is None else user.id,
                    origin=origin,
                    details={"reason": reason},
                )
            )
            await uow.commit()

    async def _start_session(
        self, user: User, password: Secret, command: LoginUserCommand
    ) -> TokenPair:
        scope = granted_scope(command.scope, user.permissions)
        password_hash = await self._current_hash(user, password)
        now = self._clock.now()
        family = RefreshTokenFamily.start(
            family_id=self._ids.family_id(),
            token_id=self._ids.token_id(),
            user_id=user.id,
            client_id=command.client_id,
            scope=scope,
            device=Device(command.device_name, command.origin.user_agent, command.origin.ip),
            now=now,
            policy=self._session_policy,
            key_thumbprint=command.key_thumbprint,
        )
        async with self._unit_of_work() as uow:
            live = await uow.families.list_live(user.id, now)
            # The user's version guards it all: a login, a password change or a disabling that
            # came in between makes this commit stale.
            uow.users.save(user.logged_in(now, password_hash=password_hash))
            for evicted in families_to_evict(live, now, self._session_policy.max_sessions):
                uow.families.revoke(evicted.id, now, RevokeReason.EVICTED)
                uow.revocations.add(
                    Revocation.of_session(evicted.id, self._session_policy.tokens_expired_by(now))
                )
                uow.audit.add(
                    AuditEvent(
                        self._ids.event_id(),
                        now,
                        AuditEventType.SESSION_REVOKED,
                        actor=user.id,
                        subject=user.id,
                        session=evicted.id,
                        origin=command.origin,
                        details={"reason": RevokeReason.EVICTED},
                    )
                )
            uow.families.add(family)
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.LOGIN_SUCCEEDED,
                    actor=user.id,
                    subject=user.id,
                    session=family.id,
                    origin=command.origin,
                )
            )
            pair = await self._tokens.issue(family, user, now, scope=scope)
            await uow.commit()
        return pair

    async def _current_hash(self, user: User, password: Secret) -> str:
        if not self._hasher.needs_rehash(user.password_hash):
            return user.password_hash
        try:
            return await self._hasher.hash(password)
        except HashingBusy:
            # The next login is as good a time to hash again.
            return user.password_hash
