"""Somebody wants the link again that verifies an address."""

from dataclasses import dataclass, field

from keyturn.domain.events import Origin
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.source import source_of
from keyturn.domain.user import canonical_email
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction


@dataclass(frozen=True, slots=True)
class RequestEmailVerificationCommand:
    """The address of the account, and who asks."""

    email: str
    origin: Origin = field(default_factory=Origin)


class RequestEmailVerification:
    """Has a link sent that verifies an address, if there is an account with it that needs one."""

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

    async def execute(self, command: RequestEmailVerificationCommand) -> None:
        """Ask for the mail; nobody looks here whether there is an account (OWASP ASVS V6.3.8).

        Raises:
            InvalidEmail: the address can't be one.
            TooManyAttempts: too many were asked for, from the same source or for this address.
            Unavailable: the store does not answer.
        """
        await self._throttle.admit(
            ThrottledAction.VERIFY,
            source=source_of(command.origin.ip),
            account=canonical_email(command.email),
        )
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            uow.outbox.add(
                QueuedMail.to_address(
                    self._ids.mail_id(),
                    MailKind.VERIFY_EMAIL,
                    command.email,
                    now,
                    command.origin,
                )
            )
            await uow.commit()
