"""A worker hears of what others revoke, and knows when it does not."""

from datetime import timedelta

import pytest

from keyturn.adapters.memory.revocations import MemoryRevocationList
from keyturn.delivery.background.follow_revocations import FollowRevocations
from keyturn.domain.errors import RevocationsUnknown, StoreUnavailable
from keyturn.ports.revocations import RevocationList, RevocationPage
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.revocation_replica import RevocationReplica


class FailingList(RevocationList):
    """A list that can be cut off."""

    def __init__(self, inner: RevocationList) -> None:
        self.inner = inner
        self.cut_off = False

    async def read(self, after: str | None) -> RevocationPage:
        if self.cut_off:
            raise StoreUnavailable
        return await self.inner.read(after)


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return InMemoryKeyturn()


@pytest.fixture
def revocations(keyturn: InMemoryKeyturn) -> FailingList:
    return FailingList(MemoryRevocationList(keyturn.store))


@pytest.fixture
def replica(keyturn: InMemoryKeyturn, revocations: FailingList) -> RevocationReplica:
    """The copy of another worker."""
    return RevocationReplica(revocations, keyturn.clock, timedelta(seconds=10))


@pytest.fixture
def following(replica: RevocationReplica) -> FollowRevocations:
    return FollowRevocations(replica, timedelta(seconds=1), timedelta(seconds=10))


async def test_a_look_brings_what_another_worker_revoked(
    keyturn: InMemoryKeyturn, following: FollowRevocations, replica: RevocationReplica
) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    await keyturn.logout(tokens.refresh_token)
    await following.once()
    assert len(replica) == 1


async def test_it_is_not_ready_before_the_first_look(following: FollowRevocations) -> None:
    with pytest.raises(RevocationsUnknown):
        await following.check()
    await following.once()
    await following.check()


async def test_it_is_not_ready_once_the_copy_is_too_old_and_ready_again_after_a_look(
    keyturn: InMemoryKeyturn, following: FollowRevocations, revocations: FailingList
) -> None:
    await following.once()
    revocations.cut_off = True
    keyturn.advance(seconds=10)
    await following.once()
    await following.check()
    keyturn.advance(seconds=1)
    with pytest.raises(RevocationsUnknown):
        await following.check()
    revocations.cut_off = False
    await following.once()
    await following.check()
