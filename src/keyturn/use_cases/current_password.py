"""Somebody who is logged in says their password again; shared by what needs that."""

from keyturn.domain.errors import TooManyAttempts, WrongCurrentPassword
from keyturn.domain.events import Origin
from keyturn.domain.login_policy import LoginPolicy
from keyturn.domain.policies import PasswordPolicy
from keyturn.domain.secret import Secret
from keyturn.domain.source import source_of
from keyturn.domain.user import User
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock
from keyturn.ports.throttling import Throttle, ThrottledAction


class CurrentPassword:
    """Asks for the password once more, so that a stolen access token alone changes nothing."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        clock: Clock,
        password_policy: PasswordPolicy,
        login_policy: LoginPolicy,
        throttle: Throttle,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._clock = clock
        self._password_policy = password_policy
        self._login_policy = login_policy
        self._throttle = throttle

    async def check(self, user: User, password: Secret, origin: Origin) -> None:
        """Return if it is the user's.

        A wrong one counts as a failed login: the guesses of whoever holds a stolen access token
        end where those of anybody else do.

        Raises:
            WrongCurrentPassword: it is not.
            TooManyAttempts: too many passwords were wrong before, or came from the same source.
            PasswordNotText, PasswordTooLong: nobody's password can look like this.
            Unavailable: the hasher is busy or the store does not answer.
        """
        await self._throttle.admit(ThrottledAction.LOGIN, source=source_of(origin.ip))
        normal = self._password_policy.normalise(password)
        now = self._clock.now()
        if not self._login_policy.admits(user, now, from_known_device=True):
            raise TooManyAttempts(int(self._login_policy.longest_wait.total_seconds()))
        if await self._hasher.verify(user.password_hash, normal):
            return
        async with self._unit_of_work() as uow:
            uow.users.note_failed_login(user.id, now)
            await uow.commit()
        raise WrongCurrentPassword
