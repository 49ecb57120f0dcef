"""A stand-in for keyturn's two routes that a verifier asks, with a clock that a test moves."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from keyturn.testing import public_jwks
from keyturn.testing.doubles import ManualClock
from keyturn.testing.tokens import TEST_AUDIENCE, TEST_ISSUER
from keyturn.verifier import IgnoreRevocations, RevocationFeed, TokenVerifier

CREDENTIALS = "Basic " + base64.b64encode(b"notes:a secret").decode()


class Issuer:
    """Answers as keyturn does, counts, and breaks when a test says so."""

    def __init__(self) -> None:
        self.jwks: object = public_jwks()
        self.etag = '"1"'
        self.cache_control = "public, max-age=300"
        self.revocations: list[object] = []
        self.asked: list[str] = []
        self.statuses: list[int] = []
        self.broken: set[str] = set()
        self.forgets_cursors = False

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if path in self.broken:
            raise httpx.ConnectError("nobody listens", request=request)
        answer = self._keys(request) if path.endswith("jwks.json") else self._feed(request)
        self.statuses.append(answer.status_code)
        return answer

    def _keys(self, request: httpx.Request) -> httpx.Response:
        headers = {"ETag": self.etag, "Cache-Control": self.cache_control}
        if request.headers.get("If-None-Match") == self.etag:
            return httpx.Response(304, headers=headers)
        content = self.jwks if isinstance(self.jwks, bytes) else json.dumps(self.jwks).encode()
        return httpx.Response(200, headers=headers, content=content)

    def _feed(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("Authorization") != CREDENTIALS:
            return httpx.Response(401)
        after = request.url.params.get("after")
        if after is not None and self.forgets_cursors:
            return httpx.Response(400)
        etag = f'"{len(self.revocations)}"'
        if request.headers.get("If-None-Match") == etag:
            return httpx.Response(304, headers={"ETag": etag})
        page = self.revocations[int(after or 0) :]
        return httpx.Response(
            200,
            headers={"ETag": etag},
            json={"revocations": page, "cursor": str(len(self.revocations))},
        )

    def revoke(self, kind: str, subject: UUID, epoch: int = 0) -> None:
        self.revocations.append(
            {
                "kind": kind,
                "subject": str(subject),
                "epoch": epoch,
                "expires_at": "2126-01-01T00:00:00.000000Z",
            }
        )


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def feed() -> RevocationFeed:
    return RevocationFeed("notes", "a secret", max_staleness=timedelta(seconds=10))


@pytest.fixture
def verifier_of(issuer: Issuer, clock: ManualClock) -> Callable[..., TokenVerifier]:
    def make(
        revocations: RevocationFeed | IgnoreRevocations = IgnoreRevocations(),  # noqa: B008
    ) -> TokenVerifier:
        return TokenVerifier(
            issuer=TEST_ISSUER,
            audience=TEST_AUDIENCE,
            revocations=revocations,
            transport=httpx.MockTransport(issuer),
            clock=clock,
        )

    return make
