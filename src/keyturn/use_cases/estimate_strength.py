"""Somebody who thinks of a password wants to know whether it is a good one."""

from dataclasses import dataclass, field

from keyturn.domain.errors import InvalidInput
from keyturn.domain.events import Origin
from keyturn.domain.policies import PasswordPolicy
from keyturn.domain.secret import Secret
from keyturn.domain.source import source_of
from keyturn.domain.strength import Strength
from keyturn.ports.passwords import StrengthEstimator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.use_cases.new_password import NewPasswordRules


@dataclass(frozen=True, slots=True)
class EstimateStrengthCommand:
    """Which password, and for whom.

    Attributes:
        email: None where it is not known yet.
    """

    password: Secret
    email: str | None = None
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True, slots=True)
class EstimateStrengthResult:
    """What a form can show.

    Attributes:
        strength: a hint; no password is refused for it.
        refusals: the codes of the errors for which the password would be refused now; empty does
            not promise that it is accepted, since only setting it asks about breaches.
    """

    strength: Strength
    refusals: tuple[str, ...]


class EstimateStrength:
    """Estimates a password that is not set, and stores nothing of it."""

    def __init__(
        self,
        estimator: StrengthEstimator,
        rules: NewPasswordRules,
        password_policy: PasswordPolicy,
        throttle: Throttle,
    ) -> None:
        self._estimator = estimator
        self._rules = rules
        self._password_policy = password_policy
        self._throttle = throttle

    async def execute(self, command: EstimateStrengthCommand) -> EstimateStrengthResult:
        """Estimate the password.

        Raises:
            TooManyAttempts: too many estimates for the same source.
            Unavailable: too many estimates at once.
        """
        await self._throttle.admit(ThrottledAction.STRENGTH, source=source_of(command.origin.ip))
        refusals = await self._rules.objections(command.password, email=command.email)
        try:
            password = self._password_policy.normalise(command.password)
        except InvalidInput:
            return EstimateStrengthResult(Strength(0, None, ()), refusals)
        words = self._rules.words(command.email)
        return EstimateStrengthResult(await self._estimator.estimate(password, words), refusals)
