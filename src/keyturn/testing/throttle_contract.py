"""What every `Throttle` must do, as tests.

Subclass it and give two fixtures:

```python
class TestMyThrottle(ThrottleContract):
    @pytest.fixture
    def throttle(self) -> Throttle:
        return MyThrottle(...)  # with the rates below

    @pytest.fixture
    def end_windows(self) -> Callable[[], Awaitable[None]]:
        return ...  # as if the hour had passed
```
"""

import asyncio
from collections.abc import Awaitable, Callable

from keyturn.domain.errors import TooManyAttempts
from keyturn.domain.source import UNKNOWN_SOURCE, Source, source_of
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.testing.extra import pytest
from keyturn.testing.steps import RACERS, ROGUE

PER_SOURCE = 6
"""Attempts of any kind that one source has in an hour."""

PER_ACCOUNT = 3
"""Attempts of `RESET` and `VERIFY` that there are for one account in an hour."""

LOGIN, RESET, VERIFY = ThrottledAction.LOGIN, ThrottledAction.RESET, ThrottledAction.VERIFY
HERE, THERE = source_of("192.0.2.1"), source_of("2001:db8::1")
ADA, EVE = "ada@example.com", "eve@example.com"

EndWindows = Callable[[], Awaitable[None]]


class ThrottleContract:
    """The contract of `Throttle`: `PER_SOURCE` for each source, `PER_ACCOUNT` for each account.

    An attempt to log in is not counted for an account.
    """

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def throttle(self) -> Throttle:
        """Return a throttle that nothing was counted by."""
        raise NotImplementedError

    @pytest.fixture
    def end_windows(self) -> EndWindows:
        """Return what lets an hour pass for that throttle."""
        raise NotImplementedError

    async def test_a_source_may_try_so_often_and_no_more(self, throttle: Throttle) -> None:
        """The limit is exact."""
        for _ in range(PER_SOURCE):
            await throttle.admit(LOGIN, source=HERE)
        assert await refusals(throttle, LOGIN, 3, source=HERE) == 3

    async def test_a_refusal_says_in_how_many_seconds_it_is_over(self, throttle: Throttle) -> None:
        """What it says fits into a header, and into the window."""
        await use_up(throttle, LOGIN, source=HERE)
        with pytest.raises(TooManyAttempts) as refused:
            await throttle.admit(LOGIN, source=HERE)
        assert isinstance(refused.value.retry_after, int)
        assert 1 <= refused.value.retry_after <= 3600

    async def test_sources_are_counted_apart(self, throttle: Throttle) -> None:
        """Nobody waits because of somebody elsewhere."""
        await use_up(throttle, LOGIN, source=HERE)
        await throttle.admit(LOGIN, source=THERE)

    async def test_requests_without_an_address_share_one_allowance(
        self, throttle: Throttle
    ) -> None:
        """A client whose address is unknown is not exempt."""
        for ip in (None, "unknown", "", "not an address", None, None):
            await throttle.admit(LOGIN, source=source_of(ip))
        assert await refusals(throttle, LOGIN, 3, source=UNKNOWN_SOURCE) == 3
        await throttle.admit(LOGIN, source=HERE)

    async def test_an_ipv6_network_has_four_times_the_allowance_of_one_of_its_64s(
        self, throttle: Throttle
    ) -> None:
        """A /56 that changes its /64 for each attempt is refused; its refusals cost nobody else."""
        for site in range(4):
            for _ in range(PER_SOURCE):
                await throttle.admit(LOGIN, source=of_site(0, site))
            # Refused in the /64, and not counted in the /56.
            assert await refusals(throttle, LOGIN, PER_SOURCE, source=of_site(0, site)) > 0
        assert await refusals(throttle, LOGIN, 3, source=of_site(0, 4)) == 3
        await throttle.admit(LOGIN, source=of_site(1, 0))

    async def test_an_ipv6_customer_has_sixteen_times_the_allowance(
        self, throttle: Throttle
    ) -> None:
        """A /48 that changes its /56 is refused, and what one /56 is refused is not counted."""
        for number in range(4):
            for site in range(4):
                for _ in range(PER_SOURCE):
                    await throttle.admit(LOGIN, source=of_site(number, site))
            assert await refusals(throttle, LOGIN, 6, source=of_site(number, 4)) == 6
        assert await refusals(throttle, LOGIN, 3, source=of_site(4, 0)) == 3
        await throttle.admit(LOGIN, source=source_of("2001:db8:1::1"))

    async def test_of_many_at_once_from_an_ipv6_network_exactly_those_are_admitted_who_may(
        self, throttle: Throttle
    ) -> None:
        """A race wins no attempt in the wider network either, and costs the customer none."""
        rivals = [(of_site(0, number % 8), None) for number in range(48)]
        assert await race(throttle, *rivals) == 4 * PER_SOURCE
        for number in range(1, 4):
            rivals = [(of_site(number, site % 4), None) for site in range(4 * PER_SOURCE)]
            assert await race(throttle, *rivals) == 4 * PER_SOURCE
        assert await refusals(throttle, RESET, 3, source=of_site(4, 0)) == 3

    async def test_actions_are_counted_apart(self, throttle: Throttle) -> None:
        """Who may not log in for now may ask for a new password."""
        await use_up(throttle, LOGIN, source=HERE, account=ADA)
        await throttle.admit(RESET, source=HERE, account=ADA)

    async def test_an_account_is_counted_wherever_it_is_tried_from(
        self, throttle: Throttle
    ) -> None:
        """Many sources together have no more attempts for one account than one has."""
        for number in range(PER_ACCOUNT):
            await throttle.admit(RESET, source=source_of(f"192.0.2.{number}"), account=ADA)
        assert await refusals(throttle, RESET, 1, source=source_of("192.0.2.99"), account=ADA) == 1

    async def test_accounts_are_counted_apart(self, throttle: Throttle) -> None:
        """The limit of one is not the limit of another."""
        await use_up(throttle, RESET, account=ADA)
        await throttle.admit(RESET, source=HERE, account=EVE)

    async def test_a_source_is_no_account(self, throttle: Throttle) -> None:
        """The same text counts apart as the one and as the other."""
        await use_up(throttle, RESET, account=str(HERE))
        await throttle.admit(RESET, source=HERE, account=ADA)

    async def test_nobody_is_not_counted(self, throttle: Throttle) -> None:
        """Without a source and an account there is nothing to count."""
        for _ in range(PER_SOURCE + PER_ACCOUNT):
            await throttle.admit(RESET, source=None)

    async def test_whatever_text_stands_for_an_account(self, throttle: Throttle) -> None:
        """Empty, long, of any script, no text at all: each is counted, each for itself."""
        for text in ("", ROGUE, "x" * 10_000, "x" * 10_001, "\ud800", "a/b", "a:b\r\n", "\x00"):
            await use_up(throttle, RESET, account=text)

    async def test_who_is_refused_for_an_account_uses_up_nothing_of_the_source(
        self, throttle: Throttle
    ) -> None:
        """Only what is admitted counts."""
        await use_up(throttle, RESET, account=ADA)
        assert await refusals(throttle, RESET, 2 * PER_SOURCE, source=HERE, account=ADA) > 0
        for number in range(PER_SOURCE):
            await throttle.admit(RESET, source=HERE, account=f"{number}@example.com")

    async def test_who_is_refused_at_a_source_uses_up_nothing_of_the_account(
        self, throttle: Throttle
    ) -> None:
        """A source that is turned away can't keep others from an account."""
        await use_up(throttle, VERIFY, source=HERE)
        assert await refusals(throttle, VERIFY, 2 * PER_ACCOUNT, source=HERE, account=ADA) > 0
        for _ in range(PER_ACCOUNT):
            await throttle.admit(VERIFY, source=THERE, account=ADA)

    async def test_a_refused_attempt_does_not_lengthen_the_wait(self, throttle: Throttle) -> None:
        """Impatience is not punished."""
        await use_up(throttle, LOGIN, source=HERE)
        waits = []
        for _ in range(3 * PER_SOURCE):
            with pytest.raises(TooManyAttempts) as refused:
                await throttle.admit(LOGIN, source=HERE)
            waits.append(refused.value.retry_after)
        assert waits == sorted(waits, reverse=True)

    async def test_when_the_window_is_over_everything_is_as_at_the_beginning(
        self, throttle: Throttle, end_windows: EndWindows
    ) -> None:
        """Refused attempts leave nothing behind."""
        await use_up(throttle, RESET, account=ADA)
        assert await refusals(throttle, RESET, PER_SOURCE, source=HERE, account=ADA) > 0
        await end_windows()
        for _ in range(PER_ACCOUNT):
            await throttle.admit(RESET, source=HERE, account=ADA)
        assert await refusals(throttle, RESET, 1, source=HERE, account=ADA) == 1

    async def test_of_many_at_once_from_a_source_exactly_those_are_admitted_who_may(
        self, throttle: Throttle
    ) -> None:
        """A race wins nobody an attempt, and costs nobody one."""
        admitted = await race(throttle, *((HERE, None) for _ in range(RACERS)))
        assert admitted == PER_SOURCE

    async def test_of_many_at_once_for_an_account_exactly_those_are_admitted_who_may(
        self, throttle: Throttle
    ) -> None:
        """Nor does it when they come from everywhere."""
        admitted = await race(
            throttle, *((source_of(f"192.0.2.{number}"), ADA) for number in range(RACERS))
        )
        assert admitted == PER_ACCOUNT

    async def test_who_loses_a_race_for_an_account_uses_up_nothing_of_the_source(
        self, throttle: Throttle
    ) -> None:
        """Only what is admitted counts, however close it was."""
        assert await race(throttle, *((HERE, ADA) for _ in range(RACERS))) == PER_ACCOUNT
        for _ in range(PER_SOURCE - PER_ACCOUNT):
            await throttle.admit(RESET, source=HERE)
        assert await refusals(throttle, RESET, 1, source=HERE) == 1


class SharedThrottleContract(ThrottleContract):
    """The contract of a `Throttle` that several processes share, or one before and after a restart.

    Of actions that the throttle counts with all others at once; see `Throttle.admit` for what
    holds of the rest. Needs a further fixture, `beside`.
    """

    @pytest.fixture
    def beside(self) -> Throttle:
        """Return the throttle of another process, which counts at the same place."""
        raise NotImplementedError

    async def test_what_one_counts_the_other_knows(
        self, throttle: Throttle, beside: Throttle
    ) -> None:
        """Several processes together admit no more than one."""
        for _ in range(PER_SOURCE // 2):
            await throttle.admit(LOGIN, source=HERE)
            await beside.admit(LOGIN, source=HERE)
        assert await refusals(throttle, LOGIN, 1, source=HERE) == 1
        assert await refusals(beside, LOGIN, 1, source=HERE) == 1

    async def test_in_a_race_of_two_processes_exactly_those_are_admitted_who_may(
        self, throttle: Throttle, beside: Throttle
    ) -> None:
        """What is counted is counted at one place."""
        admitted = await asyncio.gather(
            race(throttle, *((HERE, None) for _ in range(RACERS))),
            race(beside, *((HERE, None) for _ in range(RACERS))),
        )
        assert sum(admitted) == PER_SOURCE


def of_site(number: int, site: int) -> Source:
    """Return a /64 of a /56 of the customer `2001:db8::/48`."""
    return source_of(f"2001:db8:0:{number:02x}{site:02x}::1")


async def use_up(
    throttle: Throttle,
    action: ThrottledAction,
    *,
    source: Source | None = None,
    account: str | None = None,
) -> None:
    """Try until there is a refusal."""
    for _ in range(PER_SOURCE + 1):
        try:
            await throttle.admit(action, source=source, account=account)
        except TooManyAttempts:
            return
    raise AssertionError("it was never refused")


async def refusals(
    throttle: Throttle,
    action: ThrottledAction,
    times: int,
    *,
    source: Source | None = None,
    account: str | None = None,
) -> int:
    """Try so many times, and return how many of them were refused."""
    refused = 0
    for _ in range(times):
        try:
            await throttle.admit(action, source=source, account=account)
        except TooManyAttempts:
            refused += 1
    return refused


async def race(throttle: Throttle, *rivals: tuple[Source, str | None]) -> int:
    """Try for a reset at once, from a source each, for an account or none; return who was in."""
    refused = await asyncio.gather(
        *(
            refusals(throttle, RESET, 1, source=source, account=account)
            for source, account in rivals
        )
    )
    return len(rivals) - sum(refused)
