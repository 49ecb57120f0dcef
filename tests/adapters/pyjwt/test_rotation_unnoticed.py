"""Nobody is logged out by a rotation, however many and whatever the algorithms."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from tests.adapters.pyjwt.conftest import ISSUER

from keyturn.adapters.memory.revocations import MemoryRevocationList
from keyturn.adapters.pyjwt.codec import PyJwtCodec
from keyturn.adapters.pyjwt.followed_keys import FollowedKeys
from keyturn.adapters.pyjwt.key_ring import SigningAlgorithm
from keyturn.adapters.pyjwt.key_rotation import PUBLISH_OVERLAP, KeyRotation
from keyturn.domain.errors import InvalidAccessToken, InvalidRefreshToken
from keyturn.domain.policies import SessionPolicy
from keyturn.domain.secret import Secret
from keyturn.testing.doubles import ManualClock
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.rotate_refresh import RefreshOutcome

LIFE = SessionPolicy().longest_token_life
CHANGES = [
    (SigningAlgorithm.HS256, SigningAlgorithm.HS256, SigningAlgorithm.HS256),
    (SigningAlgorithm.RS256, SigningAlgorithm.ES256, SigningAlgorithm.ES256),
    (SigningAlgorithm.HS256, SigningAlgorithm.EDDSA, SigningAlgorithm.RS256),
]
pytestmark = pytest.mark.parametrize("algorithms", CHANGES, ids=" to ".join)


class Service:
    """A service with two workers, which share the store and the folder of the keys."""

    def __init__(self, folder: Path, algorithm: SigningAlgorithm) -> None:
        self._clock = ManualClock()
        self.keys = [FollowedKeys(folder, algorithm, self._clock) for _ in range(2)]
        self.rotation = KeyRotation(folder, self._clock, LIFE)
        codecs = [PyJwtCodec(keys, issuer=ISSUER) for keys in self.keys]
        first = InMemoryKeyturn(codec=codecs[0])
        second = InMemoryKeyturn(
            codec=codecs[1],
            unit_of_work=first.unit_of_work,
            revocations=MemoryRevocationList(first.store),
            ids=first.ids,
        )
        self.workers = [first, second]

    async def follow(self) -> None:
        for worker in self.workers:
            await worker.revocations.follow()

    def advance(self, span: timedelta) -> None:
        self._clock.advance(span)
        for worker in self.workers:
            worker.clock.advance(span)

    def publish(self, algorithm: SigningAlgorithm) -> None:
        self.rotation.generate(algorithm.value)

    def verify(self, access_token: Secret) -> None:
        for worker in self.workers:
            worker.authenticate_access.execute(access_token)


@pytest.fixture
async def service(tmp_path: Path, algorithms: tuple[SigningAlgorithm, ...]) -> Service:
    service = Service(tmp_path / "keys", algorithms[0])
    await service.follow()
    await service.workers[0].register()
    return service


async def test_two_rotations_under_running_refreshes_end_no_session(
    service: Service, algorithms: tuple[SigningAlgorithm, ...]
) -> None:
    idle = await service.workers[0].login()
    is_over = False
    kids: set[str] = set()

    async def keep_refreshing(number: int) -> int:
        tokens = await service.workers[0].login()
        refreshes = 0
        while not is_over:
            # Another worker each time, and perhaps one that has not noticed yet.
            worker = service.workers[(number + refreshes) % 2]
            result = await worker.refresh(tokens.refresh_token)
            assert result.outcome is RefreshOutcome.ROTATED
            tokens = result.tokens
            service.verify(tokens.access_token)
            refreshes += 1
            await asyncio.sleep(0)
        return refreshes

    async def some_refreshes() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        kids.update(keys.signer.kid for keys in service.keys)

    async def rotate() -> None:
        for algorithm in algorithms[1:]:
            await some_refreshes()
            service.publish(algorithm)
            for keys in service.keys:
                await some_refreshes()
                keys.look()
            service.advance(PUBLISH_OVERLAP)
            service.rotation.rotate()
            for keys in service.keys:
                await some_refreshes()
                keys.look()
            await some_refreshes()

    running = [asyncio.ensure_future(keep_refreshing(number)) for number in range(3)]
    try:
        await rotate()
    finally:
        is_over = True
        refreshes = await asyncio.gather(*running)
    assert len(kids) == 3
    assert min(refreshes) > 10
    # And whoever slept through both.
    assert (await service.workers[1].refresh(idle.refresh_token)).outcome is RefreshOutcome.ROTATED


async def test_a_worker_that_has_not_noticed_an_emergency_takes_what_another_signed(
    service: Service, algorithms: tuple[SigningAlgorithm, ...]
) -> None:
    here, there = service.workers
    tokens = await here.login()
    service.publish(algorithms[1])
    service.rotation.rotate(at_once=True)
    service.keys[0].look()
    refreshed = await here.refresh(tokens.refresh_token)
    assert (await there.refresh(refreshed.tokens.refresh_token)).outcome is RefreshOutcome.ROTATED


async def test_a_retry_across_a_rotation_gets_the_same_successor(
    service: Service, algorithms: tuple[SigningAlgorithm, ...]
) -> None:
    worker = service.workers[0]
    tokens = await worker.login()
    lost = await worker.refresh(tokens.refresh_token)
    service.publish(algorithms[1])
    service.rotation.rotate(at_once=True)
    service.keys[0].look()
    replayed = await worker.refresh(tokens.refresh_token)
    assert replayed.outcome is RefreshOutcome.REPLAYED
    read = worker.codec.decode_refresh
    assert read(replayed.tokens.refresh_token) == read(lost.tokens.refresh_token)
    assert (await worker.refresh(lost.tokens.refresh_token)).outcome is RefreshOutcome.ROTATED


async def test_a_stolen_key_that_was_retired_at_once_signs_nothing_that_is_taken(
    service: Service, algorithms: tuple[SigningAlgorithm, ...]
) -> None:
    worker = service.workers[0]
    tokens = await worker.login()
    stolen = service.keys[0].signer.kid
    service.publish(algorithms[1])
    service.rotation.rotate(at_once=True)
    service.rotation.retire(stolen, at_once=True)
    service.keys[0].look()
    with pytest.raises(InvalidAccessToken):
        worker.authenticate_access.execute(tokens.access_token)
    with pytest.raises(InvalidRefreshToken):
        await worker.refresh(tokens.refresh_token)


async def test_a_token_of_the_key_before_is_good_until_its_own_end(
    service: Service, algorithms: tuple[SigningAlgorithm, ...]
) -> None:
    worker = service.workers[0]
    service.publish(algorithms[1])
    service.advance(PUBLISH_OVERLAP)
    service.rotation.rotate()
    # Signed by a worker that noticed late.
    service.advance(timedelta(seconds=30))
    tokens = await worker.login()
    for keys in service.keys:
        keys.look()
    service.advance(SessionPolicy().idle_ttl - timedelta(seconds=1))
    for keys in service.keys:
        keys.look()
    assert (await worker.refresh(tokens.refresh_token)).outcome is RefreshOutcome.ROTATED
