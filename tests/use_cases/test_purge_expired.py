"""What no longer matters goes, batch by batch, and nothing else does."""

from datetime import timedelta

from keyturn.adapters.memory.housekeeping import MemoryHousekeeping
from keyturn.ports.persistence import Purged
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.purge_expired import PurgeExpired


async def test_a_fresh_service_has_nothing_to_purge(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    await keyturn.login()
    assert await keyturn.purge_expired.execute() == Purged()


async def test_families_go_when_their_time_is_long_over_and_users_stay(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    keyturn.advance(days=60)
    assert (await keyturn.purge_expired.execute()).families == 0
    keyturn.advance(seconds=1)
    assert (await keyturn.purge_expired.execute()).families == 1
    assert tokens.session_id not in keyturn.store.families
    assert tokens.user_id in keyturn.store.users


async def test_revocations_go_when_every_token_they_kill_has_expired(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    await keyturn.logout(tokens.refresh_token)
    keyturn.advance(minutes=15)
    assert (await keyturn.purge_expired.execute()).revocations == 0
    keyturn.advance(minutes=2)
    assert (await keyturn.purge_expired.execute()).revocations == 1


async def test_audit_events_go_past_their_retention(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    keyturn.advance(days=365, seconds=1)
    await keyturn.login()
    assert (await keyturn.purge_expired.execute()).audit_events == 1
    assert len(keyturn.store.audit_events) == 1


async def test_a_purge_goes_on_until_nothing_is_left_to_remove(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    for _ in range(7):
        await keyturn.login()
    keyturn.advance(days=61)
    purge = PurgeExpired(
        MemoryHousekeeping(keyturn.store),
        keyturn.clock,
        families_kept=timedelta(days=30),
        events_kept=timedelta(days=365),
        batch=3,
    )
    assert (await purge.execute()).families == 7
    assert keyturn.store.families == {}
