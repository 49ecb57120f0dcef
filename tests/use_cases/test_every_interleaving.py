"""Every order of events, to a bounded depth, and what must hold after each of them.

Two explorations. The first takes whole events one after another: two tabs of one browser, a thief
who copies their token, answers that get lost, a clock that is moved forwards and back, a logout.
The second takes use-cases that run at the same time and tries every order of their steps, where a
step ends wherever a use-case waits for its store.
"""

import os
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

import pytest

from keyturn.adapters.memory.store import MemoryStore
from keyturn.domain.errors import InvalidCredentials, InvalidRefreshToken, KeyturnError
from keyturn.domain.ids import FamilyId
from keyturn.domain.policies import SessionPolicy
from keyturn.domain.refresh_token_family import (
    DEFAULT_CLIENT_ID,
    PresentedToken,
    RefreshTokenFamily,
    Refuse,
    Replay,
    Reuse,
    RevokeReason,
    Rotate,
    decide,
)
from keyturn.domain.secret import Secret
from keyturn.domain.user import UserStatus
from keyturn.testing.builders import make_principal
from keyturn.testing.in_memory import PASSWORD, InMemoryKeyturn, run
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand
from keyturn.use_cases.rotate_refresh import RefreshOutcome, RotateRefreshResult
from keyturn.use_cases.token_pair import TokenPair

DEPTH = int(os.environ.get("KEYTURN_TEST_DEPTH", "4"))
POLICY = SessionPolicy(idle_ttl=timedelta(hours=1), absolute_ttl=timedelta(hours=2))


class Actor(StrEnum):
    TAB = "tab"
    OTHER_TAB = "other tab"
    THIEF = "thief"


class Event(StrEnum):
    TAB_REFRESHES = "the tab refreshes"
    TAB_LOSES_THE_ANSWER = "the tab refreshes and loses the answer"
    OTHER_TAB_REFRESHES = "the other tab refreshes"
    OTHER_TAB_LOSES_THE_ANSWER = "the other tab refreshes and loses the answer"
    TABS_SHARE = "the other tab takes over the tab's token"
    THIEF_COPIES = "the thief copies the tab's token"
    THIEF_REFRESHES = "the thief refreshes"
    LOGOUT = "the tab logs out"
    A_SECOND = "a second passes"
    THE_GRACE_WINDOW = "the grace window passes"
    THE_IDLE_TIME = "nearly the idle time passes"
    CLOCK_BACK = "the clock is set back by a second"


REFRESHES = {
    Event.TAB_REFRESHES: Actor.TAB,
    Event.TAB_LOSES_THE_ANSWER: Actor.TAB,
    Event.OTHER_TAB_REFRESHES: Actor.OTHER_TAB,
    Event.OTHER_TAB_LOSES_THE_ANSWER: Actor.OTHER_TAB,
    Event.THIEF_REFRESHES: Actor.THIEF,
}
LOST = {Event.TAB_LOSES_THE_ANSWER, Event.OTHER_TAB_LOSES_THE_ANSWER}
STEPS = {
    Event.A_SECOND: timedelta(seconds=1),
    Event.THE_GRACE_WINDOW: POLICY.grace,
    Event.THE_IDLE_TIME: POLICY.idle_ttl - timedelta(seconds=2),
    Event.CLOCK_BACK: timedelta(seconds=-1),
}


@dataclass(frozen=True)
class Issued:
    """A refresh token, and what its signed claims say."""

    token: Secret
    presented: PresentedToken

    @staticmethod
    def live(token: Secret, family: RefreshTokenFamily) -> "Issued":
        presented = PresentedToken(family.id, family.user_id, family.current, DEFAULT_CLIENT_ID)
        return Issued(token, presented)


@dataclass(frozen=True)
class Answer:
    """What is stored after a refresh, and the tokens that it gave, None if it was refused."""

    store: MemoryStore
    tokens: TokenPair | None


@dataclass(frozen=True)
class World:
    """What is stored, what time it is, who holds which of the tokens issued so far.

    Attributes:
        answers: to each token that was presented in this world; a service does not see by whom.
    """

    store: MemoryStore
    elapsed: timedelta
    issued: tuple[Issued, ...]
    held: dict[Actor, int]
    path: tuple[Event, ...]
    answers: dict[int, Answer] = field(default_factory=dict)

    @property
    def family(self) -> RefreshTokenFamily:
        (family,) = self.store.families.values()
        return family

    def likeness(self) -> object:
        """What tells two worlds apart as far as any later event can see."""
        family = self.family
        newest = len(self.issued) - 1
        return (
            tuple(max(index - newest, -3) for _, index in sorted(self.held.items())),
            Actor.THIEF in self.held,
            min(len(self.issued), 4),
            family.revoke_reason,
            self.elapsed - (family.rotated_at - family.created_at),
            family.expires_at - family.rotated_at,
            family.absolute_expires_at - family.rotated_at,
        )


class Exploration:
    """Runs events through the use-cases and checks what must hold after each."""

    def __init__(self) -> None:
        self.keyturn = InMemoryKeyturn(session_policy=POLICY)
        run(self.keyturn.register())
        self.began = self.keyturn.clock.now()
        tokens = run(self.keyturn.login())
        store = self.keyturn.store.copy()
        self.first = World(
            store=store,
            elapsed=timedelta(0),
            issued=(Issued.live(tokens.refresh_token, store.families[tokens.session_id]),),
            held={Actor.TAB: 0, Actor.OTHER_TAB: 0},
            path=(),
        )
        self.decisions: set[type] = set()

    def worlds(self, depth: int) -> Iterator[World]:
        """Yield every world that differs from those before, after at most `depth` events."""
        queue, seen = deque([self.first]), {self.first.likeness()}
        while queue:
            world = queue.popleft()
            yield world
            if len(world.path) == depth:
                continue
            for event in Event:
                if event is Event.THIEF_REFRESHES and Actor.THIEF not in world.held:
                    continue
                after = self.follow(world, event)
                if (likeness := after.likeness()) not in seen:
                    seen.add(likeness)
                    queue.append(after)

    def enter(self, world: World) -> None:
        self.keyturn.store.replace_by(world.store.copy())
        self.keyturn.clock.set(self.began + world.elapsed)

    def follow(self, world: World, event: Event) -> World:
        after = (*world.path, event)
        if event in REFRESHES:
            return self.refresh(world, event)
        if event in STEPS:
            elapsed = world.elapsed + STEPS[event]
            return World(world.store, elapsed, world.issued, world.held, after)
        if event is Event.LOGOUT:
            self.enter(world)
            run(self.keyturn.logout(world.issued[world.held[Actor.TAB]].token))
            store = self.keyturn.store.copy()
            assert store.families[world.family.id].revoked_at is not None
            return World(store, world.elapsed, world.issued, world.held, after)
        actor = Actor.OTHER_TAB if event is Event.TABS_SHARE else Actor.THIEF
        held = {**world.held, actor: world.held[Actor.TAB]}
        return World(world.store, world.elapsed, world.issued, held, after)

    def present(self, world: World, index: int) -> Answer:
        if index not in world.answers:
            self.enter(world)
            tokens: TokenPair | None = None
            with suppress(InvalidRefreshToken):
                tokens = run(self.keyturn.refresh(world.issued[index].token)).tokens
            world.answers[index] = Answer(self.keyturn.store.copy(), tokens)
        return world.answers[index]

    def refresh(self, world: World, event: Event) -> World:
        actor = REFRESHES[event]
        index = world.held[actor]
        newest = len(world.issued) - 1
        now = self.began + world.elapsed
        was_live = world.family.is_live(now)
        in_grace = abs(now - world.family.rotated_at) < POLICY.grace
        due = was_live and (index == newest or (index == newest - 1 and in_grace))
        answer = self.present(world, index)
        tokens = answer.tokens
        after = World(answer.store, world.elapsed, world.issued, world.held, (*world.path, event))

        # An honest retry inside the grace window never logs anyone out, nor does first use.
        assert (tokens is not None) == due, after.path
        if due:
            assert after.family.revoked_at is None, after.path
        # Whoever comes late with a copy is seen, and the session is over for everybody.
        elif was_live:
            assert after.family.revoke_reason is RevokeReason.REUSE_DETECTED, after.path
        # No rotation moves the absolute expiry.
        assert after.family.absolute_expires_at == world.family.absolute_expires_at

        if tokens is None:
            return after
        issued = world.issued
        if index == newest:
            issued = (*issued, Issued.live(tokens.refresh_token, after.family))
        # A replay is the same successor: there is no second chain.
        assert tokens.refresh_token == issued[-1].token, after.path
        held = world.held if event in LOST else {**world.held, actor: len(issued) - 1}
        return World(answer.store, world.elapsed, issued, held, after.path)

    def check(self, world: World) -> None:
        """Check, with the pure decision, what each token issued so far is worth."""
        now = self.began + world.elapsed
        decisions = [decide(world.family, issued.presented, now, POLICY) for issued in world.issued]
        self.decisions |= {type(decision) for decision in decisions}
        if not world.family.is_live(now):
            # After a revocation or an expiry nothing works.
            assert all(isinstance(decision, Refuse) for decision in decisions), world.path
            return
        # One live leaf, the newest; at most the one before it may be replayed.
        assert [isinstance(decision, Rotate) for decision in decisions] == [
            issued is world.issued[-1] for issued in world.issued
        ], world.path
        assert all(isinstance(decision, Reuse) for decision in decisions[:-2]), world.path


def test_every_order_of_refreshes_theft_lost_answers_clock_steps_and_logout() -> None:
    exploration = Exploration()
    worlds = 0
    for world in exploration.worlds(DEPTH):
        exploration.check(world)
        worlds += 1
    # An exploration that reaches little proves little.
    assert worlds > 1_000
    assert exploration.decisions == {Rotate, Replay, Reuse, Refuse}


def every_order(
    scenario: Callable[[], list[Coroutine[object, None, object]]], look: Callable[[], object]
) -> Iterator[list[object]]:
    """Run the scenario's use-cases in every order of their steps and yield what each came to.

    Orders in which every use-case has seen the same are the same: only one of them goes on.

    Args:
        scenario: makes the use-cases, on a store as it was at the beginning.
        look: tells what a use-case can see of the store.
    """
    orders: list[list[int]] = [[]]
    known: set[object] = set()
    while orders:
        order = orders.pop()
        use_cases = scenario()
        results: list[object] = [None] * len(use_cases)
        seen: list[tuple[object, ...]] = [()] * len(use_cases)
        running = set(range(len(use_cases)))
        taken: list[int] = []
        while running:
            visible = look()
            if len(taken) < len(order):
                chosen = order[len(taken)]
            else:
                situation = (visible, *seen)
                if situation in known:
                    break
                known.add(situation)
                chosen, *others = sorted(running)
                orders.extend([*taken, other] for other in others)
            taken.append(chosen)
            seen[chosen] = (*seen[chosen], visible)
            try:
                use_cases[chosen].send(None)
            except StopIteration as end:
                results[chosen] = end.value
                running.discard(chosen)
            except KeyturnError as error:
                results[chosen] = error
                running.discard(chosen)
        for use_case in use_cases:
            use_case.close()
        if not running:
            yield results


class Race:
    """A session whose live token has a predecessor, as it was for each order of steps."""

    def __init__(self, session_policy: SessionPolicy = POLICY) -> None:
        self.keyturn = InMemoryKeyturn(session_policy=session_policy)
        self.user = run(self.keyturn.register())
        login = run(self.keyturn.login())
        self.old = login.refresh_token
        self.live = run(self.keyturn.refresh(self.old)).tokens.refresh_token
        self.session_id = login.session_id
        self.keyturn.advance(minutes=1)
        self.start = self.keyturn.store.copy()

    def restart(self) -> None:
        """Forget what the last order of steps did."""
        self.keyturn.store.replace_by(self.start.copy())

    def look(self) -> object:
        store = self.keyturn.store
        return (
            frozenset((f.id, f.generation, f.revoke_reason) for f in store.families.values()),
            store.users[self.user.id].version,
        )

    @property
    def family(self) -> RefreshTokenFamily:
        return self.keyturn.store.families[self.session_id]

    def nothing_works(self, results: list[object]) -> bool:
        """Whether no refresh token of the session, those in `results` included, is good any more."""
        tokens = [self.old, self.live]
        tokens += [r.tokens.refresh_token for r in results if isinstance(r, RotateRefreshResult)]
        for token in tokens:
            with pytest.raises(InvalidRefreshToken):
                run(self.keyturn.refresh(token))
        return True


def explore(
    session_policy: SessionPolicy, *tasks: Callable[[Race], Coroutine[object, None, object]]
) -> Iterator[tuple[Race, list[object]]]:
    """Yield the race and its results for every order in which the steps of `tasks` can happen."""
    race = Race(session_policy)

    def scenario() -> list[Coroutine[object, None, object]]:
        race.restart()
        return [task(race) for task in tasks]

    for results in every_order(scenario, race.look):
        yield race, results


def refresh_live(race: Race) -> Coroutine[object, None, object]:
    return race.keyturn.refresh(race.live)


def refresh_old(race: Race) -> Coroutine[object, None, object]:
    return race.keyturn.refresh(race.old)


def logout(race: Race) -> Coroutine[object, None, object]:
    return race.keyturn.logout(race.live)


def logout_everywhere(race: Race) -> Coroutine[object, None, object]:
    return race.keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(race.user.id, make_principal(race.user.id))
    )


def disable(race: Race) -> Coroutine[object, None, object]:
    return race.keyturn.set_status(race.user, UserStatus.DISABLED)


def login(race: Race) -> Coroutine[object, None, object]:
    return race.keyturn.login()


def change_password(race: Race) -> Coroutine[object, None, object]:
    return race.keyturn.change_password.execute(
        ChangePasswordCommand(
            race.user.id, FamilyId(race.user.id), PASSWORD, Secret("another long password")
        )
    )


def test_in_every_order_three_refreshes_of_one_token_are_one_rotation() -> None:
    orders = 0
    for race, results in explore(POLICY, refresh_live, refresh_live, refresh_live):
        orders += 1
        refreshed = [r for r in results if isinstance(r, RotateRefreshResult)]
        assert len(refreshed) == 3
        assert [r.outcome for r in refreshed].count(RefreshOutcome.ROTATED) == 1
        assert len({r.tokens.refresh_token for r in refreshed}) == 1
        assert race.family.revoked_at is None
    assert orders > 20


def test_in_every_order_two_refreshes_and_a_logout_leave_nothing_usable() -> None:
    for race, results in explore(POLICY, refresh_live, refresh_live, logout):
        assert race.family.revoke_reason is RevokeReason.LOGOUT
        assert race.nothing_works(results)


def test_in_every_order_a_refresh_and_a_late_thief_leave_nothing_usable() -> None:
    for race, results in explore(POLICY, refresh_live, refresh_old):
        assert isinstance(results[1], InvalidRefreshToken)
        assert race.family.revoke_reason is RevokeReason.REUSE_DETECTED
        assert race.nothing_works(results)


def test_in_every_order_a_thief_and_a_logout_leave_nothing_usable() -> None:
    for race, results in explore(POLICY, refresh_live, refresh_old, logout):
        assert race.family.revoked_at is not None
        assert race.nothing_works(results)


def test_in_every_order_a_strict_policy_lets_one_of_two_refreshes_through() -> None:
    strict = replace(POLICY, grace=timedelta(0))
    for race, results in explore(strict, refresh_live, refresh_live):
        assert sum(isinstance(r, RotateRefreshResult) for r in results) == 1
        assert race.family.revoke_reason is RevokeReason.REUSE_DETECTED
        assert race.nothing_works(results)


@pytest.mark.parametrize("ending", [logout_everywhere, change_password])
def test_in_every_order_what_ends_all_sessions_ends_a_refreshing_one(
    ending: Callable[[Race], Coroutine[object, None, object]],
) -> None:
    for race, results in explore(POLICY, refresh_live, ending):
        assert race.family.revoked_at is not None
        assert race.nothing_works(results)


def test_in_every_order_a_disabled_user_refreshes_no_more() -> None:
    for race, results in explore(POLICY, refresh_live, disable):
        assert race.nothing_works(results)


def test_in_every_order_a_login_with_the_old_password_does_not_outlive_its_change() -> None:
    for race, results in explore(POLICY, login, change_password):
        entered, changed = results
        assert changed is None
        if isinstance(entered, TokenPair):
            assert race.keyturn.store.families[entered.session_id].revoked_at is not None
        else:
            assert isinstance(entered, InvalidCredentials)


def test_in_every_order_two_logins_keep_the_session_limit() -> None:
    for race, results in explore(replace(POLICY, max_sessions=2), login, login):
        assert all(isinstance(result, TokenPair) for result in results)
        now = race.keyturn.clock.now()
        live = [f for f in race.keyturn.store.families.values() if f.is_live(now)]
        assert len(live) == 2
