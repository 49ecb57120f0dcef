"""Somebody follows the link that shows that an address is theirs."""

from dataclasses import dataclass, field

from keyturn.domain.errors import (
    Contention,
    InvalidOneTimeToken,
    StaleOneTimeToken,
    StaleUser,
)
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.one_time_token import TokenPurpose, digest_of
from keyturn.domain.secret import Secret
from keyturn.domain.source import source_of
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.use_cases.attempts import MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class ConfirmEmailCommand:
    """The token of the link."""

    token: Secret
    origin: Origin = field(default_factory=Origin)


class ConfirmEmail:
    """Verifies the address that a user registered with, or makes a new one the user's."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
        throttle: Throttle,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids
        self._throttle = throttle

    async def execute(self, command: ConfirmEmailCommand) -> None:
        """Do what the link was sent for; the address before, if there is one, is told by mail.

        Raises:
            InvalidOneTimeToken: the token is worth nothing (any more).
            EmailTaken: somebody else has the new address by now.
            TooManyAttempts: too many tokens from the same source.
            Unavailable: the store does not answer.
        """
        await self._throttle.admit(ThrottledAction.VERIFY, source=source_of(command.origin.ip))
        for _ in range(MAX_ATTEMPTS):
            try:
                async with self._unit_of_work() as uow:
                    await self._confirm(uow, digest_of(command.token), command.origin)
            except StaleUser:
                continue
            except StaleOneTimeToken:
                raise InvalidOneTimeToken from None
            return
        raise Contention

    async def _confirm(self, uow: UnitOfWork, digest: str, origin: Origin) -> None:
        now = self._clock.now()
        token = await uow.one_time_tokens.get(digest)
        user = None if token is None else await uow.users.get(token.user_id)
        if token is None or user is None or not user.is_active:
            raise InvalidOneTimeToken
        if token.is_good_for(TokenPurpose.VERIFY_EMAIL, user, now):
            event = AuditEventType.EMAIL_VERIFIED
            uow.users.save(user.with_verified_email(now))
        elif token.is_good_for(TokenPurpose.CHANGE_EMAIL, user, now):
            event = AuditEventType.EMAIL_CHANGED
            changed = user.with_email(token.email, now)
            uow.users.save(changed)
            uow.outbox.add(
                QueuedMail.about(
                    self._ids.mail_id(),
                    MailKind.EMAIL_CHANGED,
                    changed,
                    now,
                    origin,
                    address=user.email,
                )
            )
        else:
            raise InvalidOneTimeToken
        uow.one_time_tokens.redeem(digest)
        uow.audit.add(
            AuditEvent(
                self._ids.event_id(), now, event, actor=user.id, subject=user.id, origin=origin
            )
        )
        await uow.commit()
