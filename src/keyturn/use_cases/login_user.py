"""Somebody logs in on a device."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from keyturn.domain.claims import DeviceClaims
from keyturn.domain.errors import (
    Contention,
    HashingBusy,
    InvalidCredentials,
    InvalidRefreshToken,
    StaleUser,
)
from keyturn.domain.events import AuditEvent, AuditEventType, LoginFailure, Origin
from keyturn.domain.ids import FamilyId
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
from keyturn.domain.source import source_of
from keyturn.domain.user import User, UserStatus, canonical_email
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.proofs import CheckedProof
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.ports.tokens import TokenCodec
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.audiences import Audiences
from keyturn.use_cases.check_proof import CheckProof
from keyturn.use_cases.token_pair import TokenIssuer, TokenPair

DEVICE_REMEMBERED = timedelta(days=30)
"""How long after a session has ended its device still counts as one that the user logs in on."""

DEVICE_TOKEN_TTL = timedelta(days=180)
"""How long a device token is valid; each login from the device issues a new one."""

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
        device_token: what an earlier login on this device issued. One that is not valid, or is
            another user's, counts as none.
        replaced: refresh tokens whose sessions end once this login has succeeded, because the
            new session takes their place in the browser. One that is not valid is passed over.
    """

    email: str
    password: Secret
    device_name: str | None = None
    origin: Origin = field(default_factory=Origin)
    client_id: str = DEFAULT_CLIENT_ID
    scope: Scope = None
    proof: CheckedProof | None = None
    resource: str | None = None
    device_token: Secret | None = None
    replaced: tuple[Secret, ...] = ()


class LoginUser:
    """Checks a password and starts a refresh token family."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        codec: TokenCodec,
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
        self._codec = codec
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
        """Log in and return the tokens of a new session, a device token among them.

        The least recently used sessions beyond the limit end with reason `evicted`. The password
        is hashed again if today's parameters differ from those of the stored hash. A deletion
        that the user asked for, and that is not due, is taken back.

        A failed login costs the same look-ups, hashes and writes whatever made it fail. The device
        token is read before the user: whether its session exists is asked by the same statement.

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
        device = self._device(command)
        verified, verified_hash = False, None
        for _ in range(MAX_ATTEMPTS):
            # No unit of work stays open while a password is hashed: it would hold a connection.
            async with self._unit_of_work() as uow:
                user = await uow.users.get_by_email(command.email)
                # A wrong password moves the user's version: of many guesses at once, one that is
                # right starts again here, and no longer counts.
                allowed = await self._allowed(uow, user, device)
            if user is None or user.password_hash != verified_hash:
                password_hash = None if user is None else user.password_hash
                verified = await self._hasher.verify(password_hash, password, source=source)
            failure = self._failure(user, admitted=allowed > 0, verified=verified)
            if user is None or failure is not None:
                failure = failure or LoginFailure.UNKNOWN_EMAIL
                await self._note_failure(user, failure, allowed, command)
                raise InvalidCredentials
            if verified_hash is None:
                self._check_proof.use(command.proof)
            verified_hash = user.password_hash
            try:
                return await self._start_session(user, password, command, audience)
            except StaleUser:
                continue
        raise Contention

    async def _allowed(
        self, uow: UnitOfWork, user: User | None, device: DeviceClaims | None
    ) -> int:
        """Return the failed-login limit for this client; 0 rejects the attempt."""
        now = self._clock.now()
        # Read for every account and for none, so that its time does not reveal whether there is
        # one. Only the request decides whether there is a device token to look up.
        family = None if device is None else await uow.families.get(device.family_id)
        if user is None:
            return 0
        if self._login_policy.admits(user, now, from_known_device=False):
            return self._login_policy.failures_from_anywhere
        if not self._login_policy.admits(user, now, from_known_device=True):
            return 0
        is_known = (
            device is not None and family is not None and _is_known(device, family, user, now)
        )
        return self._login_policy.max_failures if is_known else 0

    def _device(self, command: LoginUserCommand) -> DeviceClaims | None:
        if command.device_token is None:
            return None
        return self._codec.decode_device(command.device_token, self._clock.now())

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
        self, user: User | None, failure: LoginFailure, allowed: int, command: LoginUserCommand
    ) -> None:
        """Write what failed, by as many statements for every reason."""
        now, origin = self._clock.now(), command.origin
        counts = user is not None and failure is LoginFailure.WRONG_PASSWORD
        async with self._unit_of_work() as uow:
            if failure is LoginFailure.EMAIL_NOT_VERIFIED:
                # The answer does not say that the password is right: it would tell whoever
                # registers with a stranger's address whether it was free.
                uow.outbox.add(self._mail(MailKind.VERIFY_EMAIL, user, now, command))
            else:
                uow.idle(1)
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
            # Last, because it locks the account's row until the commit: guesses that run at the
            # same time wait for each other, and those at an unknown address do not.
            uow.users.note_failed_login(
                # An id that nobody has: the same statements, which change nothing.
                user.id if user is not None and counts else self._ids.user_id(),
                now,
                at_most=allowed,
                when_reached=self._mail(MailKind.LOGIN_BLOCKED, user, now, command),
            )
            await uow.commit()

    def _mail(
        self, kind: MailKind, user: User | None, now: datetime, command: LoginUserCommand
    ) -> QueuedMail:
        mail_id, origin = self._ids.mail_id(), command.origin
        if user is None:
            # Built for the statements that change nothing, and never queued.
            return QueuedMail.to_address(mail_id, kind, command.email, now, origin)
        return QueuedMail.about(mail_id, kind, user, now, origin)

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
            replaced = await self._replaced(uow, command)
            replaced_ids = {each.id for each in replaced}
            live = [
                each
                for each in await uow.families.list_live(user.id, now)
                if each.id not in replaced_ids
            ]
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
                self._end(uow, evicted, RevokeReason.EVICTED, now, command.origin)
            for each in replaced:
                self._end(uow, each, RevokeReason.REPLACED, now, command.origin)
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
            device_token = await self._codec.encode_device(_device_of(family, user, now))
            await uow.commit()
        return replace(pair, device_token=device_token)

    async def _replaced(
        self, uow: UnitOfWork, command: LoginUserCommand
    ) -> list[RefreshTokenFamily]:
        """Return the live sessions whose place in the browser the new one takes."""
        named: set[FamilyId] = set()
        for token in command.replaced:
            try:
                named.add(self._codec.decode_refresh(token).family_id)
            except InvalidRefreshToken:
                continue
        found = [await uow.families.get(family_id) for family_id in sorted(named)]
        return [family for family in found if family is not None and family.revoked_at is None]

    def _end(
        self,
        uow: UnitOfWork,
        family: RefreshTokenFamily,
        reason: RevokeReason,
        now: datetime,
        origin: Origin,
    ) -> None:
        uow.families.revoke(family.id, now, reason)
        uow.revocations.add_session(family.id, now)
        uow.audit.add(
            AuditEvent(
                self._ids.event_id(),
                now,
                AuditEventType.SESSION_REVOKED,
                actor=family.user_id,
                subject=family.user_id,
                session=family.id,
                origin=origin,
                details={"reason": reason},
            )
        )

    async def _current_hash(self, user: User, password: Secret, origin: Origin) -> str:
        if not self._hasher.needs_rehash(user.password_hash):
            return user.password_hash
        try:
            return await self._hasher.hash(password, source=source_of(origin.ip))
        except HashingBusy:
            # The next login is as good a time to hash again.
            return user.password_hash


def _is_known(device: DeviceClaims, family: RefreshTokenFamily, user: User, now: datetime) -> bool:
    """Return whether a device token makes its device one that the user logs in on.

    While the session is live, the device stays known even after the session has changed the
    password. Once the session has ended, other credentials make the token void: of two people who
    knew the old password, one is to be kept out.
    """
    if device.user_id != user.id or family.user_id != user.id:
        return False
    if family.revoke_reason in _ENDED_IN_DOUBT:
        return False
    ended_at = family.ended_at(now)
    if ended_at is None:
        return True
    return (
        now - DEVICE_REMEMBERED <= ended_at
        and device.credentials_version == user.credentials_version
    )


def _device_of(family: RefreshTokenFamily, user: User, now: datetime) -> DeviceClaims:
    issued_at = now.replace(microsecond=0)
    return DeviceClaims(
        user_id=user.id,
        family_id=family.id,
        credentials_version=user.credentials_version,
        issued_at=issued_at,
        expires_at=issued_at + DEVICE_TOKEN_TTL,
    )
