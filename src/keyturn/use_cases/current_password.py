"""Somebody who is logged in says their password again; shared by what needs that."""

from keyturn.domain.errors import Contention, StaleUser, WrongCurrentPassword
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.login_policy import LoginPolicy
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.policies import PasswordPolicy
from keyturn.domain.secret import Secret
from keyturn.domain.source import source_of
from keyturn.domain.user import User
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.use_cases.attempts import MAX_ATTEMPTS


class CurrentPassword:
    """Asks for the password once more, so that a stolen access token alone changes nothing."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        clock: Clock,
        ids: IdGenerator,
        password_policy: PasswordPolicy,
        login_policy: LoginPolicy,
        throttle: Throttle,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._clock = clock
        self._ids = ids
        self._password_policy = password_policy
        self._login_policy = login_policy
        self._throttle = throttle

    async def check(self, user: User, password: Secret, origin: Origin) -> None:
        """Return if it is the user's.

        A wrong one counts as a failed login. The guesses of whoever holds a stolen access token
        end where those of strangers do, and leave the user's own devices theirs; after that the
        right one is refused too, until the user logs in or resets the password.

        Raises:
            WrongCurrentPassword: it is not, or too many were wrong before.
            TooManyAttempts: too many passwords came from the same source.
            PasswordNotText, PasswordTooLong: nobody's password can look like this.
            Unavailable: the hasher is busy or the store does not answer.
        """
        source = source_of(origin.ip)
        await self._throttle.admit(ThrottledAction.LOGIN, source=source)
        normal = self._password_policy.normalise(password)
        verified = await self._hasher.verify(user.password_hash, normal, source=source)
        for _ in range(MAX_ATTEMPTS):
            try:
                if verified and await self._counts(user):
                    return
            except StaleUser:
                continue
            await self._note_failure(user, origin)
            raise WrongCurrentPassword
        raise Contention

    async def _counts(self, user: User) -> bool:
        """Return whether the right password still counts, as stored at this moment.

        A wrong one moves the user's version: of many guesses at once, a right one that comes too
        late starts again here, and does not count.
        """
        async with self._unit_of_work() as uow:
            stored = await uow.users.get(user.id)
            if (
                stored is None
                or stored.password_hash != user.password_hash
                or stored.failed_logins >= self._login_policy.failures_from_anywhere
            ):
                return False
            uow.users.save(stored.confirmed())
            await uow.commit()
        return True

    async def _note_failure(self, user: User, origin: Origin) -> None:
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            uow.users.note_failed_login(
                user.id,
                now,
                at_most=self._login_policy.failures_from_anywhere,
                when_reached=QueuedMail.about(
                    self._ids.mail_id(), MailKind.LOGIN_BLOCKED, user, now, origin
                ),
            )
            # Without an actor, as for a failed login: nobody knows who holds the access token.
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.WRONG_CURRENT_PASSWORD,
                    subject=user.id,
                    origin=origin,
                )
            )
            await uow.commit()
