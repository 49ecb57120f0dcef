"""Somebody logs in on a device."""

from dataclasses import dataclass, field
from datetime import timedelta

from keyturn.domain.errors import (
    Contention,
    HashingBusy,
    InvalidCredentials,
    StaleUser,
    TooManyAttempts,
)
from keyturn.domain.events import AuditEvent, AuditEventType, LoginFailure, Origin
from keyturn.domain.login_policy import LoginPolicy
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.policies import PasswordPolicy, SessionPolicy
from keyturn.domain.refresh_token_family import (
    DEFAULT_CLIENT_ID,
    Device,
    RefreshTokenFamily,
    RevokeReason,
    families_to_evict,
)
from keyturn.domain.scope import Scope, granted_scope
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE, source_of
from keyturn.domain.user import User, UserStatus, canonical_email
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.proofs import CheckedProof
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.audiences import Audiences
from keyturn.use_cases.check_proof import CheckProof
from keyturn.use_cases.token_pair import TokenIssuer, TokenPair

DEVICE_REMEMBERED = timedelta(days=30)
"""How long after a session has ended its device still counts as one that the user logs in on."""

_ENDED_IN_DOUBT = {
    RevokeReason.ADMINISTRATOR,
    RevokeReason.LOGOUT_ALL,
    RevokeReason.PASSWORD_CHANGED,
    RevokeReason.REUSE_DETECTED,
    RevokeReason.USER_DISABLED,
}
"""Why a session ended that may have been a thief's: its device is not one of the user's."""


@dataclass(frozen=True, slots=True)
class LoginUserCommand:
    """Who logs in, from where, and for what.

    Attributes:
        proof: of the key that the session is bound to, None for none. Used up by a login that
            succeeds, not by a wrong password.
        resource: what the access token is for (RFC 8707); None for the default audience.
    """

    email: str
    password: Secret
    device_name: str | None = None
    origin: Origin = field(default_factory=Origin)
    client_id: str = DEFAULT_CLIENT_ID
    scope: Scope = None
    proof: CheckedProof | None = None
    resource: str | None = None


class LoginUser:
    """Checks a password and starts a refresh token family."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        tokens: TokenIssuer,
        audiences: Audiences,
        clock: Clock,
        ids: IdGenerator,
        password_policy: PasswordPolicy,
        session_policy: SessionPolicy,
        login_policy: LoginPolicy,
        throttle: Throttle,
        check_proof: CheckProof,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._tokens = tokens
        self._audiences = audiences
        self._clock = clock
        self._ids = ids
        self._password_policy = password_policy
        self._session_policy = session_policy
        self._login_policy = login_policy
        self._throttle = throttle
        self._check_proof = check_proof

    async def execute(self, command: LoginUserCommand) -> TokenPair:
        """Log in and return the tokens of a new session.

        The least recently used sessions beyond the limit end with reason `evicted`. The password
        is hashed again if today's parameters differ from those of the stored hash. A deletion
        that the user asked for, and that is not due, is taken back.

        Raises:
            InvalidCredentials: unknown address, wrong password, disabled user, address not
                verified where that is required, or too many wrong passwords before (NIST SP
                800-63B-4 §3.2.2); the work done for each is the same.
            TooManyAttempts: too many logins from the same source.
            InvalidEmail, PasswordNotText, PasswordTooLong: nobody's credentials can look like this.
            InvalidScope: the user may do nothing of the scope.
            InvalidTarget: there is no such resource, or the client may not ask for it.
            InvalidProof, ProofsBusy: see `CheckProof.use`.
            Unavailable: the hasher is busy or the store does not answer.
        """
        source = source_of(command.origin.ip)
        await self._throttle.admit(
            ThrottledAction.LOGIN,
            source=source,
            account=canonical_email(command.email),
        )
        # Before the password: this depends on the client alone and says nothing of an account.
        audience = await self._audiences.of(command.client_id, command.resource)
        password = self._password_policy.normalise(command.password)
        await self._tokens.prepare()
        verified, verified_hash = False, None
        for _ in range(MAX_ATTEMPTS):
            # No unit of work stays open while a password is hashed: it would hold a connection.
            async with self._unit_of_work() as uow:
                user = await uow.users.get_by_email(command.email)
                # A wrong password moves the user's version: of many guesses at once, one that is
                # right starts again here, and no longer counts.
                allowed = 0 if user is None else await self._allowed(uow, user, command.origin)
            if user is None or user.password_hash != verified_hash:
                password_hash = None if user is None else user.password_hash
                verified = await self._hasher.verify(password_hash, password, source=source)
            failure = self._failure(user, admitted=allowed > 0, verified=verified)
            if user is None or failure is not None:
                failure = failure or LoginFailure.UNKNOWN_EMAIL
                await self._note_failure(user, failure, allowed, command.origin)
                raise InvalidCredentials
            if verified_hash is None:
                self._check_proof.use(command.proof)
            verified_hash = user.password_hash
            try:
                return await self._start_session(user, password, command, audience)
            except StaleUser:
                continue
        raise Contention

    async def _allowed(self, uow: UnitOfWork, user: User, origin: Origin) -> int:
        """Return how many wrong passwords in a row whoever asks may bring the user to, 0 for none.

        Only asked for its devices where strangers would be turned away.
        """
        now = self._clock.now()
        if self._login_policy.admits(user, now, from_known_device=False):
            return self._login_policy.failures_from_anywhere
        if not self._login_policy.admits(user, now, from_known_device=True):
            return 0
        source = source_of(origin.ip)
        if source == UNKNOWN_SOURCE:
            return 0
        families = await uow.families.list_live(user.id, now)
        families += await uow.families.list_ended(user.id, now, now - DEVICE_REMEMBERED)
        is_known = any(
            source_of(family.device.ip) == source and family.revoke_reason not in _ENDED_IN_DOUBT
            for family in families
        )
        return self._login_policy.max_failures if is_known else 0

    def _failure(self, user: User | None, *, admitted: bool, verified: bool) -> LoginFailure | None:
        if user is None:
            return LoginFailure.UNKNOWN_EMAIL
        if not admitted:
            return LoginFailure.TOO_MANY_FAILURES
        if not verified:
            return LoginFailure.WRONG_PASSWORD
        if not user.may_log_in(self._clock.now()):
            return LoginFailure.USER_DISABLED
        if self._login_policy.requires_verified_email and user.email_verified_at is None:
            return LoginFailure.EMAIL_NOT_VERIFIED
        return None

    async def _note_failure(
        self, user: User | None, failure: LoginFailure, allowed: int, origin: Origin
    ) -> None:
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            if user is not None and failure is LoginFailure.WRONG_PASSWORD:
                uow.users.note_failed_login(
                    user.id,
                    now,
                    at_most=allowed,
                    when_reached=QueuedMail.about(
                        self._ids.mail_id(), MailKind.LOGIN_BLOCKED, user, now, origin
                    ),
                )
            if user is not None and failure is LoginFailure.EMAIL_NOT_VERIFIED:
                await self._send_link(uow, user, origin)
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.LOGIN_FAILED,
                    subject=None if user is None else user.id,
                    origin=origin,
                    details={"reason": failure},
                )
            )
            await uow.commit()

    async def _send_link(self, uow: UnitOfWork, user: User, origin: Origin) -> None:
        # Who knows the password is told by mail, not by the answer: that would tell whoever
        # registers with a stranger's address whether it was free.
        account = canonical_email(user.email)
        try:
            await self._throttle.admit(ThrottledAction.VERIFY, source=None, account=account)
        except TooManyAttempts:
            return
        uow.outbox.add(
            QueuedMail.about(
                self._ids.mail_id(), MailKind.VERIFY_EMAIL, user, self._clock.now(), origin
            )
        )

    async def _start_session(
        self, user: User, password: Secret, command: LoginUserCommand, audience: str
    ) -> TokenPair:
        scope = granted_scope(command.scope, user.permissions)
        password_hash = await self._current_hash(user, password, command.origin)
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
            key_thumbprint=None if command.proof is None else command.proof.key_thumbprint,
        )
        async with self._unit_of_work() as uow:
            live = await uow.families.list_live(user.id, now)
            # The user's version guards it all: a login, a password change or a disabling that
            # came in between makes this commit stale.
            uow.users.save(user.logged_in(now, password_hash=password_hash))
            if user.status is UserStatus.DELETING:
                uow.audit.add(
                    AuditEvent(
                        self._ids.event_id(),
                        now,
                        AuditEventType.DELETION_CANCELLED,
                        actor=user.id,
                        subject=user.id,
                        session=family.id,
                        origin=command.origin,
                    )
                )
            for evicted in families_to_evict(live, now, self._session_policy.max_sessions):
                uow.families.revoke(evicted.id, now, RevokeReason.EVICTED)
                uow.revocations.add_session(evicted.id, now)
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
            pair = await self._tokens.issue(family, user, now, audience=audience, scope=scope)
            await uow.commit()
        return pair

    async def _current_hash(self, user: User, password: Secret, origin: Origin) -> str:
        if not self._hasher.needs_rehash(user.password_hash):
            return user.password_hash
        try:
            return await self._hasher.hash(password, source=source_of(origin.ip))
        except HashingBusy:
            # The next login is as good a time to hash again.
            return user.password_hash
