"""How wrong passwords slow down the next one."""

from dataclasses import replace
from datetime import timedelta

import pytest

from keyturn.domain.login_policy import LoginPolicy
from keyturn.domain.user import User
from keyturn.testing.builders import make_user
from keyturn.testing.doubles import START

POLICY = LoginPolicy()


def failed(times: int) -> User:
    return replace(make_user(), failed_logins=times, last_failed_login_at=START)


def test_the_wait_doubles_with_each_wrong_password_up_to_the_longest() -> None:
    waits = [POLICY.wait_after(failures).total_seconds() for failures in range(20)]
    assert waits[:6] == [0] * 6
    assert waits[6:16] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert waits[16:] == [900] * 4
    assert POLICY.wait_after(10**9) == POLICY.longest_wait


@pytest.mark.parametrize("failures", [6, 8, 20, 89])
def test_an_unknown_device_waits_exactly_as_long_as_it_must(failures: int) -> None:
    user = failed(failures)
    over = START + POLICY.wait_after(failures)
    assert POLICY.admits(user, over, from_known_device=False)
    assert not POLICY.admits(user, over - timedelta(microseconds=1), from_known_device=False)


def test_a_known_device_waits_for_nothing() -> None:
    assert POLICY.admits(failed(50), START, from_known_device=True)


def test_only_a_known_device_has_the_last_ten_of_a_hundred() -> None:
    later = START + timedelta(days=365)
    assert not POLICY.admits(failed(90), later, from_known_device=False)
    assert POLICY.admits(failed(99), later, from_known_device=True)
    assert not POLICY.admits(failed(100), later, from_known_device=True)


def test_a_clock_that_was_set_back_makes_nobody_wait_longer_than_the_longest_wait() -> None:
    earlier = START - POLICY.longest_wait
    assert POLICY.admits(failed(50), earlier, from_known_device=False)


@pytest.mark.parametrize(
    "numbers",
    [{"max_failures": 101}, {"max_failures": 0}, {"max_failures": 10, "free_failures": 0}],
)
def test_a_policy_weaker_than_nist_is_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"wrong password"):
        LoginPolicy(**numbers)  # type: ignore[arg-type] # mypy can't see which number it is
