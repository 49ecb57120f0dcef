"""What a process records in the store for the others, and how they compare."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from keyturn.adapters.memory.deployment import MemoryDeploymentRecord
from keyturn.adapters.memory.store import MemoryStore
from keyturn.domain.errors import Contention, StoreUnavailable
from keyturn.domain.policies import ClaimsPolicy, SessionPolicy
from keyturn.domain.revocation import Revocation
from keyturn.ports.revocations import RevocationFeed
from keyturn.testing.builders import make_family
from keyturn.testing.in_memory import AUDIENCE, InMemoryKeyturn
from keyturn.use_cases.compare_feeds import CompareFeeds, FeedComparison
from keyturn.use_cases.record_deployment import RecordDeployment
from keyturn.use_cases.token_pair import TokenIssuer


class Feed(RevocationFeed):
    """A feed in memory that can lose its data."""

    def __init__(self, identity: str | None = None) -> None:
        self.identity = identity

    async def announce(self, revocations: Sequence[Revocation]) -> str:
        raise NotImplementedError

    async def confirm(self, revocations: Sequence[Revocation], receipt: str) -> None:
        raise NotImplementedError

    async def get_id(self) -> str | None:
        return self.identity

    async def ensure_id(self, known: str | None) -> str:
        self.identity = self.identity or known or "new"
        return self.identity


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def record(store: MemoryStore) -> MemoryDeploymentRecord:
    return MemoryDeploymentRecord(store)


def recording(record: MemoryDeploymentRecord, feed: Feed | None) -> RecordDeployment:
    return RecordDeployment(record, SessionPolicy(access_ttl=timedelta(minutes=7)), feed)


async def test_the_lifetime_of_access_tokens_is_recorded(
    store: MemoryStore, record: MemoryDeploymentRecord
) -> None:
    await recording(record, None).execute()
    assert store.longest_access_ttl == timedelta(minutes=7)


async def test_a_service_records_the_identity_of_its_feed(record: MemoryDeploymentRecord) -> None:
    feed = Feed()
    await recording(record, feed).execute()
    assert await record.get_feed() == feed.identity == "new"


async def test_a_feed_that_lost_its_data_gets_the_recorded_identity_again(
    record: MemoryDeploymentRecord,
) -> None:
    feed = Feed("first")
    service = recording(record, feed)
    await service.execute()
    feed.identity = None
    await service.execute()
    assert await record.get_feed() == feed.identity == "first"


async def test_a_service_that_moves_to_another_feed_records_that(
    record: MemoryDeploymentRecord,
) -> None:
    await recording(record, Feed("first")).execute()
    await recording(record, Feed("second")).execute()
    assert await record.get_feed() == "second"


async def test_a_service_without_a_feed_clears_the_record_when_it_starts_and_never_again(
    record: MemoryDeploymentRecord,
) -> None:
    await recording(record, Feed("first")).execute()
    without = recording(record, None)
    await without.execute()
    assert await record.get_feed() is None
    await recording(record, Feed("first")).execute()
    await without.execute()
    assert await record.get_feed() == "first"


@pytest.mark.parametrize(
    ("recorded", "own", "comparison"),
    [
        (None, None, FeedComparison.SAME),
        (None, Feed("a"), FeedComparison.SAME),
        ("a", Feed("a"), FeedComparison.SAME),
        ("a", None, FeedComparison.MISSING),
        ("a", Feed("b"), FeedComparison.DIFFERENT),
        ("a", Feed(None), FeedComparison.DIFFERENT),
    ],
)
async def test_a_process_compares_its_feed_with_the_recorded_one(
    record: MemoryDeploymentRecord, recorded: str | None, own: Feed | None, comparison: object
) -> None:
    await record.record_feed(recorded)
    assert await CompareFeeds(record, own).execute() is comparison


async def test_no_token_is_issued_while_its_lifetime_can_not_be_recorded() -> None:
    class Broken(MemoryDeploymentRecord):
        broken = True

        async def record_access_ttl(self, access_ttl: timedelta) -> None:
            if self.broken:
                raise StoreUnavailable
            await super().record_access_ttl(access_ttl)

    record = Broken(MemoryStore())
    keyturn = InMemoryKeyturn(deployment=record)
    await keyturn.register()
    with pytest.raises(StoreUnavailable):
        await keyturn.login()
    record.broken = False
    tokens = await keyturn.login()
    record.broken = True
    # Once recorded, nothing is asked again.
    await keyturn.refresh(tokens.refresh_token)


async def test_a_session_that_was_read_before_the_recording_gets_no_token() -> None:
    keyturn = InMemoryKeyturn()
    user = await keyturn.register()
    family, policy = make_family(user), SessionPolicy()
    store = MemoryStore()
    tokens = TokenIssuer(
        keyturn.codec, keyturn.ids, policy, ClaimsPolicy.NONE, MemoryDeploymentRecord(store)
    )
    with pytest.raises(Contention):
        await tokens.issue(family, user, keyturn.clock.now(), audience=AUDIENCE, scope=None)
    assert store.longest_access_ttl == policy.access_ttl
    await tokens.issue(family, user, keyturn.clock.now(), audience=AUDIENCE, scope=None)
