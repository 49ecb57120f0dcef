"""The table of what a presented refresh token is worth."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from keyturn.domain.events import Origin
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.policies import SessionPolicy
from keyturn.domain.refresh_token_family import (
    DEFAULT_CLIENT_ID,
    Device,
    EndReason,
    PresentedToken,
    RefreshTokenFamily,
    Refuse,
    RefuseReason,
    Replay,
    Reuse,
    RevokeReason,
    Rotate,
    decide,
    families_to_evict,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
POLICY = SessionPolicy()
SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)


def token(number: int) -> TokenId:
    return TokenId(UUID(int=number))


def family(*, number: int = 1, now: datetime = NOW) -> RefreshTokenFamily:
    return RefreshTokenFamily.start(
        family_id=FamilyId(UUID(int=number)),
        token_id=token(1),
        user_id=UserId(UUID(int=7)),
        client_id=DEFAULT_CLIENT_ID,
        scope=None,
        device=Device(name="phone"),
        now=now,
        policy=POLICY,
    )


def rotated_family(now: datetime = NOW) -> RefreshTokenFamily:
    return family().rotated(token(2), now, POLICY, Origin())


def present(
    of: RefreshTokenFamily, token_id: TokenId, client_id: str = DEFAULT_CLIENT_ID
) -> PresentedToken:
    return PresentedToken(of.id, of.user_id, token_id, client_id)


def test_the_live_token_rotates() -> None:
    assert decide(family(), present(family(), token(1)), NOW, POLICY) == Rotate()


def test_a_bound_family_takes_no_token_without_its_key_and_does_not_end() -> None:
    bound = replace(rotated_family(), key_thumbprint="the key")
    for token_id in (token(1), token(2), token(9)):
        for key in (None, "another key"):
            presented = replace(present(bound, token_id), key_thumbprint=key)
            refused = decide(bound, presented, NOW + POLICY.grace, POLICY)
            assert refused == Refuse(RefuseReason.WRONG_KEY)
    presented = replace(present(bound, token(2)), key_thumbprint="the key")
    assert decide(bound, presented, NOW, POLICY) == Rotate()


def test_the_live_token_rotates_until_the_idle_expiry() -> None:
    live = family()
    presented = present(live, live.current)
    assert decide(live, presented, live.expires_at - TICK, POLICY) == Rotate()
    assert decide(live, presented, live.expires_at, POLICY) == Refuse(RefuseReason.EXPIRED)


@pytest.mark.parametrize("after", [timedelta(0), SECOND, POLICY.grace - TICK])
def test_the_token_before_is_replayed_inside_the_grace_window(after: timedelta) -> None:
    live = rotated_family()
    assert decide(live, present(live, token(1)), NOW + after, POLICY) == Replay()


@pytest.mark.parametrize("after", [POLICY.grace, POLICY.grace + SECOND, timedelta(days=1)])
def test_the_token_before_is_reuse_after_the_grace_window(after: timedelta) -> None:
    live = rotated_family()
    assert decide(live, present(live, token(1)), NOW + after, POLICY) == Reuse()


def test_a_successor_that_nobody_was_handed_is_replayed_however_late() -> None:
    live = rotated_family()
    late = NOW + 2 * POLICY.grace
    assert decide(live, present(live, token(1)), late, POLICY, unanswered=True) == Replay()
    assert decide(live, present(live, token(1)), late, POLICY, unanswered=False) == Reuse()
    assert decide(live, present(live, token(9)), late, POLICY, unanswered=True) == Reuse()
    ended = replace(live, revoked_at=NOW, revoke_reason=RevokeReason.LOGOUT)
    refused = decide(ended, present(ended, token(1)), NOW, POLICY, unanswered=True)
    assert refused == Refuse(RefuseReason.REVOKED)


def test_a_replay_does_not_extend_the_grace_window() -> None:
    live = rotated_family()
    half = POLICY.grace / 2
    assert decide(live, present(live, token(1)), NOW + half, POLICY) == Replay()
    assert decide(live, present(live, token(1)), NOW + POLICY.grace, POLICY) == Reuse()


def test_a_token_older_than_the_one_before_is_reuse_even_inside_the_grace_window() -> None:
    live = rotated_family().rotated(token(3), NOW, POLICY, Origin())
    assert decide(live, present(live, token(1)), NOW, POLICY) == Reuse()


def test_a_grace_window_of_zero_makes_every_second_use_a_reuse() -> None:
    strict = replace(POLICY, grace=timedelta(0))
    live = rotated_family()
    for moment in (NOW, NOW - SECOND):
        assert decide(live, present(live, token(1)), moment, strict) == Reuse()


def test_a_clock_set_back_beyond_the_grace_window_does_not_hold_it_open() -> None:
    live = rotated_family()
    presented = present(live, token(1))
    assert decide(live, presented, NOW - POLICY.grace + TICK, POLICY) == Replay()
    assert decide(live, presented, NOW - POLICY.grace, POLICY) == Reuse()


def test_an_unknown_family_is_refused() -> None:
    assert decide(None, present(family(), token(1)), NOW, POLICY) == Refuse(RefuseReason.UNKNOWN)


def test_another_family_than_the_one_named_is_refused() -> None:
    presented = present(family(number=2), token(1))
    assert decide(family(), presented, NOW, POLICY) == Refuse(RefuseReason.UNKNOWN)


def test_a_token_of_another_user_is_refused() -> None:
    presented = replace(present(family(), token(1)), user_id=UserId(UUID(int=8)))
    assert decide(family(), presented, NOW, POLICY) == Refuse(RefuseReason.WRONG_USER)


def test_another_client_is_refused_and_ends_nothing() -> None:
    live = rotated_family()
    for number in (1, 2, 9):
        presented = present(live, token(number), "another")
        assert decide(live, presented, NOW, POLICY) == Refuse(RefuseReason.WRONG_CLIENT)


@pytest.mark.parametrize("number", [1, 2, 9])
def test_every_token_of_a_revoked_family_is_refused(number: int) -> None:
    revoked = replace(rotated_family(), revoked_at=NOW, revoke_reason=RevokeReason.LOGOUT)
    decision = decide(revoked, present(revoked, token(number)), NOW, POLICY)
    assert decision == Refuse(RefuseReason.REVOKED)


@pytest.mark.parametrize("number", [1, 2, 9])
def test_every_token_of_an_expired_family_is_refused(number: int) -> None:
    live = rotated_family()
    decision = decide(live, present(live, token(number)), live.expires_at, POLICY)
    assert decision == Refuse(RefuseReason.EXPIRED)


def test_a_rotation_moves_the_generation_the_tokens_and_the_idle_expiry() -> None:
    later = NOW + timedelta(hours=1)
    rotated = family().rotated(token(2), later, POLICY, Origin(ip="192.0.2.1"))
    assert (rotated.generation, rotated.previous, rotated.current) == (1, token(1), token(2))
    assert rotated.rotated_at == later
    assert rotated.expires_at == later + POLICY.idle_ttl
    assert rotated.device == Device(name="phone", ip="192.0.2.1")


def test_no_rotation_moves_the_absolute_expiry_and_none_outlives_it() -> None:
    live = family()
    moment = NOW
    for number in range(2, 60):
        moment += timedelta(days=5)
        presented = present(live, live.current)
        if decide(live, presented, moment, POLICY) != Rotate():
            break
        live = live.rotated(token(number), moment, POLICY, Origin())
    assert live.absolute_expires_at == NOW + POLICY.absolute_ttl
    assert live.expires_at == live.absolute_expires_at
    assert moment == NOW + POLICY.absolute_ttl


def test_the_live_claims_follow_from_the_family_alone() -> None:
    moment = NOW + timedelta(microseconds=123456)
    claims = rotated_family(moment).live_refresh_claims()
    assert claims == rotated_family(moment).live_refresh_claims()
    assert claims.token_id == token(2)
    assert claims.issued_at == NOW
    assert claims.expires_at == NOW + POLICY.idle_ttl


def test_a_family_says_when_and_why_it_ended() -> None:
    live = family()
    assert (live.ended_at(NOW), live.end_reason(NOW)) == (None, None)
    late = live.expires_at
    assert (live.ended_at(late), live.end_reason(late)) == (late, EndReason.EXPIRED)
    revoked = replace(live, revoked_at=NOW, revoke_reason=RevokeReason.EVICTED)
    assert (revoked.ended_at(late), revoked.end_reason(late)) == (NOW, RevokeReason.EVICTED)
    too_late = replace(live, revoked_at=late + SECOND, revoke_reason=RevokeReason.LOGOUT)
    assert too_late.ended_at(late + SECOND) == late
    assert too_late.end_reason(late + SECOND) == EndReason.EXPIRED


def test_the_least_recently_used_live_families_make_room() -> None:
    used = [replace(family(number=n), rotated_at=NOW + n * SECOND) for n in (4, 1, 3, 2)]
    dead = replace(family(number=9), revoked_at=NOW, revoke_reason=RevokeReason.LOGOUT)
    evicted = families_to_evict([*used, dead], NOW, max_sessions=3)
    assert [f.id for f in evicted] == [FamilyId(UUID(int=1)), FamilyId(UUID(int=2))]
    assert families_to_evict(used, NOW, max_sessions=5) == []
