"""What other services find at `/.well-known/jwks.json`."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from keyturn.adapters.pyjwt.followed_keys import FollowedKeys
from keyturn.adapters.pyjwt.key_ring import SigningAlgorithm
from keyturn.adapters.pyjwt.key_rotation import KeyRotation
from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.domain.policies import SessionPolicy
from keyturn.testing.in_memory import InMemoryKeyturn

PATH = "/.well-known/jwks.json"


class Publisher:
    """A service with keys in a folder, and a client of it."""

    def __init__(
        self, keys: FollowedKeys, rotation: KeyRotation, client: httpx.AsyncClient
    ) -> None:
        self.keys = keys
        self.rotation = rotation
        self.client = client

    async def fetch(self, etag: str | None = None) -> httpx.Response:
        return await self.client.get(PATH, headers={} if etag is None else {"If-None-Match": etag})


@pytest.fixture
def publish(
    tmp_path: Path,
    keyturn: InMemoryKeyturn,
    services: Callable[..., Services],
    connect: Callable[..., httpx.AsyncClient],
) -> Callable[[SigningAlgorithm], Publisher]:
    def publish(algorithm: SigningAlgorithm) -> Publisher:
        keys = FollowedKeys(tmp_path / "keys", algorithm, keyturn.clock)
        life = SessionPolicy().longest_token_life
        app = build_app(services(keyturn), HttpOptions(), published_keys=keys)
        return Publisher(
            keys, KeyRotation(tmp_path / "keys", keyturn.clock, life), connect(app=app)
        )

    return publish


Publish = Callable[[SigningAlgorithm], Publisher]


async def test_the_keys_are_public_and_may_be_cached_for_five_minutes(publish: Publish) -> None:
    publisher = publish(SigningAlgorithm.ES256)
    answer = await publisher.fetch()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, max-age=300"
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert (key["kid"], key["alg"], key["use"]) == (publisher.keys.signer.kid, "ES256", "sig")


async def test_no_key_is_published_where_a_secret_signs(publish: Publish) -> None:
    answer = await publish(SigningAlgorithm.HS256).fetch()
    assert answer.status_code == 200
    assert answer.json() == {"keys": []}


async def test_keys_that_are_known_are_not_sent_again(publish: Publish) -> None:
    publisher = publish(SigningAlgorithm.EDDSA)
    first = await publisher.fetch()
    etag = first.headers["etag"]
    assert etag.startswith('"')
    for sent in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await publisher.fetch(sent)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert again.headers["cache-control"] == "public, max-age=300"
    assert (await publisher.fetch('"other"')).status_code == 200
    assert (await publisher.fetch("")).status_code == 200


async def test_the_next_key_the_signing_one_and_those_that_retire_are_published(
    publish: Publish,
) -> None:
    publisher = publish(SigningAlgorithm.EDDSA)
    first = await publisher.fetch()
    before = publisher.keys.signer.kid
    signing = publisher.rotation.rotate(at_once=True).kid
    following = publisher.rotation.generate("RS256").kid
    publisher.keys.look()
    answer = await publisher.fetch(first.headers["etag"])
    assert answer.status_code == 200
    assert {key["kid"] for key in answer.json()["keys"]} == {before, signing, following}
    assert {key["alg"] for key in answer.json()["keys"]} == {"EdDSA", "RS256"}
    publisher.rotation.retire(before, at_once=True)
    publisher.keys.look()
    left = (await publisher.fetch()).json()["keys"]
    assert {key["kid"] for key in left} == {signing, following}
