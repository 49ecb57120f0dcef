"""What a form is told of a password that somebody thinks of."""

import pytest

from keyturn.domain.errors import TooManyAttempts
from keyturn.domain.events import Origin
from keyturn.domain.policies import PasswordPolicy
from keyturn.domain.secret import Secret
from keyturn.domain.source import Source
from keyturn.domain.strength import Strength
from keyturn.ports.passwords import StrengthEstimator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.testing.doubles import FixedBlocklist
from keyturn.use_cases.estimate_strength import EstimateStrength, EstimateStrengthCommand
from keyturn.use_cases.new_password import NewPasswordRules


class NotingEstimator(StrengthEstimator):
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    async def estimate(self, password: Secret, words: tuple[str, ...]) -> Strength:
        self.asked.append((password.reveal(), words))
        return Strength(3, "a warning", ("a suggestion",))


class NotingThrottle(Throttle):
    """Notes who is admitted, and refuses one source."""

    def __init__(self) -> None:
        self.admitted: list[tuple[ThrottledAction, str | None, str | None]] = []

    async def admit(
        self, action: ThrottledAction, *, source: Source | None, account: str | None = None
    ) -> None:
        if source == "192.0.2.66":
            raise TooManyAttempts(60)
        self.admitted.append((action, source, account))


@pytest.fixture
def estimator() -> NotingEstimator:
    return NotingEstimator()


@pytest.fixture
def throttle() -> NotingThrottle:
    return NotingThrottle()


@pytest.fixture
def estimate(estimator: NotingEstimator, throttle: NotingThrottle) -> EstimateStrength:
    policy = PasswordPolicy()
    rules = NewPasswordRules(policy, FixedBlocklist("a very common password"), None, "Notes")
    return EstimateStrength(estimator, rules, policy, throttle)


async def test_a_form_is_told_the_strength_and_all_that_speaks_against_a_password(
    estimate: EstimateStrength, estimator: NotingEstimator
) -> None:
    found = await estimate.execute(
        EstimateStrengthCommand(Secret("cafe\u0301 notes"), "lovelace@example.com")
    )
    assert found.strength == Strength(3, "a warning", ("a suggestion",))
    assert found.refusals == ("password_too_short", "password_too_personal")
    assert estimator.asked == [
        ("café notes", ("lovelace@example.com", "lovelace", "example", "notes"))
    ]


async def test_nothing_speaks_against_a_good_password(estimate: EstimateStrength) -> None:
    found = await estimate.execute(EstimateStrengthCommand(Secret("nine purple anvils")))
    assert found.refusals == ()


@pytest.mark.parametrize(
    ("password", "code"), [("\x00" * 20, "password_not_text"), ("x" * 1025, "password_too_long")]
)
async def test_what_no_password_can_be_is_not_estimated(
    estimate: EstimateStrength, estimator: NotingEstimator, password: str, code: str
) -> None:
    found = await estimate.execute(EstimateStrengthCommand(Secret(password)))
    assert (found.strength, found.refusals) == (Strength(0, None, ()), (code,))
    assert estimator.asked == []


async def test_estimates_are_counted_by_where_they_come_from(
    estimate: EstimateStrength, estimator: NotingEstimator, throttle: NotingThrottle
) -> None:
    origin = Origin(ip="2001:db8::1")
    await estimate.execute(EstimateStrengthCommand(Secret("x"), "ada@example.com", origin))
    assert throttle.admitted == [(ThrottledAction.STRENGTH, "2001:db8::/64", None)]
    with pytest.raises(TooManyAttempts):
        await estimate.execute(EstimateStrengthCommand(Secret("y"), origin=Origin(ip="192.0.2.66")))
    assert len(estimator.asked) == 1
