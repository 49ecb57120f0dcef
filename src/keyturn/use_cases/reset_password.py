"""Somebody sets a new password by the link in a mail."""

from dataclasses import dataclass, field
from datetime import datetime

from keyturn.domain.errors import (
    Contention,
    InvalidOneTimeToken,
    StaleOneTimeToken,
    StaleUser,
)
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.one_time_token import TokenPurpose, digest_of
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.secret import Secret
from keyturn.domain.source import source_of
from keyturn.domain.user import User
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.new_password import NewPasswordRules


@dataclass(frozen=True, slots=True)
class ResetPasswordCommand:
    """The token of the link, and the password that is to be."""

    token: Secret
    new_password: Secret
    origin: Origin = field(default_factory=Origin)


class ResetPassword:
    """Sets a password without the one before, and ends every session."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        rules: NewPasswordRules,
        clock: Clock,
        ids: IdGenerator,
        throttle: Throttle,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._rules = rules
        self._clock = clock
        self._ids = ids
        self._throttle = throttle

    async def execute(self, command: ResetPasswordCommand) -> None:
        """Set the password; all sessions end, and the user is told by mail.

        It also forgets wrong passwords, and verifies the address, which the link was sent to.
        A password that is refused does not use up the token.

        Raises:
            InvalidOneTimeToken: the token is worth nothing (any more).
            TooManyAttempts: too many resets from the same source.
            PasswordNotText, PasswordTooShort, PasswordTooLong, PasswordTooCommon,
                PasswordTooPersonal, PasswordBreached: see the policy.
            Unavailable: the hasher is busy or the store does not answer.
        """
        await self._throttle.admit(ThrottledAction.RESET, source=source_of(command.origin.ip))
        new_hash: str | None = None
        for _ in range(MAX_ATTEMPTS):
            async with self._unit_of_work() as uow:
                user = await self._owner(uow, command.token)
            # Only who has a good token makes the service hash.
            if new_hash is None:
                password = await self._rules.accept(command.new_password, email=user.email)
                new_hash = await self._hasher.hash(password, source=source_of(command.origin.ip))
            try:
                await self._change(user, new_hash, command)
            except StaleUser:
                continue
            except StaleOneTimeToken:
                raise InvalidOneTimeToken from None
            return
        raise Contention

    async def _owner(self, uow: UnitOfWork, token: Secret) -> User:
        now = self._clock.now()
        stored = await uow.one_time_tokens.get(digest_of(token))
        user = None if stored is None else await uow.users.get(stored.user_id)
        if (
            stored is None
            or user is None
            or not user.may_log_in(now)
            or not stored.is_good_for(TokenPurpose.RESET_PASSWORD, user, now)
        ):
            raise InvalidOneTimeToken
        return user

    async def _change(self, user: User, new_hash: str, command: ResetPasswordCommand) -> None:
        now = self._clock.now()
        changed = user.with_reset_password(new_hash, now)
        async with self._unit_of_work() as uow:
            uow.one_time_tokens.redeem(digest_of(command.token))
            write_reset(uow, self._ids, changed, now, command.origin)
            await uow.commit()


def write_reset(
    uow: UnitOfWork, ids: IdGenerator, changed: User, now: datetime, origin: Origin
) -> None:
    """Stage a password that was set by mail: every session ends, and a mail tells the user.

    Args:
        changed: `User.with_reset_password`.
    """
    uow.users.save(changed)
    uow.families.revoke_all(changed.id, now, RevokeReason.PASSWORD_CHANGED)
    uow.revocations.add_user(changed.id, changed.epoch, now)
    uow.outbox.add(QueuedMail.about(ids.mail_id(), MailKind.PASSWORD_CHANGED, changed, now, origin))
    uow.audit.add(
        AuditEvent(
            ids.event_id(),
            now,
            AuditEventType.PASSWORD_RESET,
            actor=changed.id,
            subject=changed.id,
            origin=origin,
        )
    )
