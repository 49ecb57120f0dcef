"""A worker sends the mails that are due."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from keyturn.domain.errors import (
    MailNotDelivered,
    MailUnavailable,
    StaleUser,
    StoreUnavailable,
    TooManyAttempts,
)
from keyturn.domain.events import AuditEvent, AuditEventType
from keyturn.domain.mail import MAX_ATTEMPTS_TO_SEND, Letter, MailKind, QueuedMail
from keyturn.domain.one_time_token import (
    OneTimeToken,
    OneTimeTokenPolicy,
    TokenPurpose,
    digest_of,
)
from keyturn.domain.secret import Secret
from keyturn.domain.user import User, canonical_email
from keyturn.ports.mail import LetterWriter, Mailer, MailQueue
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction

BATCH = 10
"""Mails that a worker takes at once."""

CLAIMED_FOR = timedelta(minutes=10)
"""A worker that has not sent its batch by then counts as dead; each mail has a minute."""

FailedMailCallback = Callable[[QueuedMail], None]
"""Told of each mail that could not be sent, as it goes back into the queue."""


def _nobody_asked(mail: QueuedMail) -> None:
    """Take no notice."""


class DeliverMail:
    """Finds out what each mail says, makes its link, and sends it."""

    def __init__(
        self,
        queue: MailQueue,
        unit_of_work: UnitOfWorkFactory,
        writer: LetterWriter,
        mailer: Mailer,
        clock: Clock,
        ids: IdGenerator,
        policy: OneTimeTokenPolicy,
        throttle: Throttle,
        on_failed: FailedMailCallback = _nobody_asked,
    ) -> None:
        self._queue = queue
        self._unit_of_work = unit_of_work
        self._writer = writer
        self._mailer = mailer
        self._clock = clock
        self._ids = ids
        self._policy = policy
        self._throttle = throttle
        self._on_failed = on_failed

    async def execute(self) -> int:
        """Try what is due, at most a batch of it.

        A mail that can't be sent waits for longer each time, and is dead in the end; the others
        go on.

        Returns:
            How many mails were tried: a full `BATCH` means that more may be due.

        Raises:
            StoreUnavailable: the store does not answer; what is claimed is tried again later.
        """
        now = self._clock.now()
        mails = await self._queue.claim(now, now + CLAIMED_FOR, BATCH)
        for mail in mails:
            await self._deliver(mail)
        return len(mails)

    async def _deliver(self, queued: QueuedMail) -> None:
        if queued.attempts > MAX_ATTEMPTS_TO_SEND:
            # Each worker that tried it has died.
            await self._put_back(queued, "never came to an end", for_good=True)
            return
        try:
            letter = await self._letter(queued)
            if letter is not None:
                mail = self._writer.write(letter)
                await self._mailer.send(replace(mail, message_id=queued.id))
        except StoreUnavailable:
            raise
        except (MailNotDelivered, MailUnavailable) as error:
            await self._put_back(queued, error.detail, for_good=isinstance(error, MailNotDelivered))
        except Exception as error:  # noqa: BLE001 - one mail must not keep back the others
            await self._put_back(queued, type(error).__name__, for_good=False)
        else:
            await self._queue.remove(queued)

    async def _put_back(self, queued: QueuedMail, failure: str, *, for_good: bool) -> None:
        failed = queued.failed(self._clock.now(), failure, for_good=for_good)
        self._on_failed(failed)
        await self._queue.put_back(failed)

    async def _letter(self, queued: QueuedMail) -> Letter | None:
        """Return what the mail says, None if there is nobody (any more) to say it to."""
        async with self._unit_of_work() as uow:
            match queued.kind:
                case MailKind.VERIFY_EMAIL:
                    user = await uow.users.get_by_email(queued.address)
                    if user is None or not user.is_active or user.email_verified_at is not None:
                        return None
                    if queued.user_id is not None and not await self._may_send_link(queued):
                        return None
                    return await self._with_token(
                        uow, queued, user, TokenPurpose.VERIFY_EMAIL, user.email
                    )
                case MailKind.RESET_PASSWORD:
                    user = await uow.users.get_by_email(queued.address)
                    if user is None or not user.may_log_in(self._clock.now()):
                        return None
                    return await self._with_token(
                        uow, queued, user, TokenPurpose.RESET_PASSWORD, user.email
                    )
                case MailKind.CONFIRM_NEW_EMAIL:
                    return await self._confirmation(uow, queued)
                case MailKind.ALREADY_REGISTERED:
                    return await self._reminder(uow, queued)
                case _:
                    user = None if queued.user_id is None else await uow.users.get(queued.user_id)
                    if user is not None and not await self._may_notify(user, queued.address):
                        return None
                    return self._notice(queued, queued.address, user)

    async def _reminder(self, uow: UnitOfWork, queued: QueuedMail) -> Letter | None:
        user = await uow.users.get_by_email(queued.address)
        if user is None:
            return None
        if user.email_verified_at is None and user.may_log_in(self._clock.now()):
            # Somebody else may have registered with this address before its owner did: with the
            # link, the owner sets a password of their own, and the other one is out.
            return await self._with_token(
                uow,
                replace(queued, kind=MailKind.RESET_PASSWORD),
                user,
                TokenPurpose.RESET_PASSWORD,
                user.email,
            )
        return self._notice(queued, user.email, user)

    async def _may_send_link(self, queued: QueuedMail) -> bool:
        """Return whether a login may send the link that verifies an address.

        Counted here and not at the login, whose time would reveal that the password was right. A
        link that was asked for by name was counted when it was asked for.
        """
        if queued.attempts > 1:
            return True
        account = canonical_email(queued.address)
        try:
            await self._throttle.admit(ThrottledAction.VERIFY, source=None, account=account)
        except TooManyAttempts:
            return False
        return True

    async def _may_notify(self, user: User, address: str) -> bool:
        """Return whether an address may be told: one that nobody has verified, now and then.

        Else whoever registers with a stranger's address could fill a mailbox.
        """
        if user.email_verified_at is not None:
            return True
        account = canonical_email(address)
        try:
            await self._throttle.admit(ThrottledAction.NOTICE, source=None, account=account)
        except TooManyAttempts:
            return False
        return True

    async def _confirmation(self, uow: UnitOfWork, queued: QueuedMail) -> Letter | None:
        user = None if queued.user_id is None else await uow.users.get(queued.user_id)
        if (
            user is None
            or not user.is_active
            # Asked for with a password that is no longer the user's, perhaps by a thief.
            or user.credentials_version != queued.credentials_version
        ):
            return None
        other = await uow.users.get_by_email(queued.address)
        if other is not None and other.id != user.id:
            return Letter(MailKind.ALREADY_REGISTERED, other.email, origin=queued.origin)
        return await self._with_token(uow, queued, user, TokenPurpose.CHANGE_EMAIL, queued.address)

    async def _with_token(
        self,
        uow: UnitOfWork,
        queued: QueuedMail,
        user: User,
        purpose: TokenPurpose,
        address: str,
    ) -> Letter | None:
        now = self._clock.now()
        ttl = self._policy.ttl(purpose)
        token: Secret = self._ids.one_time_token()
        uow.one_time_tokens.add(
            OneTimeToken(
                digest=digest_of(token),
                purpose=purpose,
                user_id=user.id,
                email=address,
                credentials_version=user.credentials_version,
                created_at=now,
                expires_at=now + ttl,
            )
        )
        if purpose is TokenPurpose.RESET_PASSWORD and queued.attempts == 1:
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.PASSWORD_RESET_REQUESTED,
                    subject=user.id,
                    origin=queued.origin,
                )
            )
        try:
            await uow.commit()
        except StaleUser:
            return None
        # Nobody has shown yet that the address is the user's: it is not called by the name.
        name = (
            user.display_name if canonical_email(address) == canonical_email(user.email) else None
        )
        return Letter(
            queued.kind,
            address,
            name=name if user.email_verified_at is not None else None,
            token=token,
            token_ttl=ttl,
            origin=queued.origin,
            details=queued.details,
        )

    def _notice(self, queued: QueuedMail, to: str, user: User | None) -> Letter:
        verified = user is not None and user.email_verified_at is not None
        return Letter(
            queued.kind,
            to,
            name=user.display_name if user is not None and verified else None,
            origin=queued.origin,
            details=queued.details,
        )
