"""The composition root of a service that verifies tokens which another one signs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from keyturn.adapters.jwks.remote_keys import KeyFetching, RemoteKeys, UnknownKey
from keyturn.adapters.pyjwt.access_token_reader import PyJwtAccessTokenReader
from keyturn.adapters.pyjwt.jwks import keys_from_jwks
from keyturn.adapters.pyjwt.key_ring import VerificationKey
from keyturn.adapters.revocation_feed.revocation_list import HttpRevocationList
from keyturn.adapters.system.clock import SystemClock
from keyturn.delivery.background.follow_revocations import FollowRevocations
from keyturn.delivery.background.repetition import Repetition
from keyturn.delivery.http.services import AccessChecks
from keyturn.domain.principal import Principal
from keyturn.domain.resource import AccessRule
from keyturn.domain.secret import Secret
from keyturn.ports.proofs import Proof
from keyturn.ports.revocations import RevocationList, RevocationPage
from keyturn.ports.system import Clock
from keyturn.use_cases.authenticate_access import AuthenticateAccess
from keyturn.use_cases.revocation_replica import RevocationReplica
from keyturn.verifier.revocation_choices import (
    IgnoreRevocations,
    RevocationChoice,
    RevocationFeed,
    WhenLost,
)

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_REQUEST_TIMEOUT = timedelta(seconds=5)
_FETCH_TIMEOUT = timedelta(seconds=10)


class _TokenChecks(AccessChecks):
    """What both kinds of verifier have in common: who calls is in the token, and all that is."""

    def __init__(self, authenticate_access: AuthenticateAccess) -> None:
        self._authenticate_access = authenticate_access

    async def authenticate(
        self, access_token: Secret | str, proof: Proof | None = None
    ) -> Principal:
        """Return the caller.

        Args:
            proof: none is good here: a token that is bound to a key is refused, with or without.

        Raises:
            InvalidAccessToken: the token is malformed, forged, expired, revoked or of another kind.
            WrongAudience: the token is for another resource.
            KeysUnavailable: nobody can tell at the moment which keys sign.
            RevocationsUnknown: nobody can tell at the moment whether the token is revoked.
        """
        if isinstance(access_token, str):
            access_token = Secret(access_token)
        return self._authenticate_access.execute(access_token, proof)

    async def resolve_rights(self, principal: Principal) -> Principal:
        """Return the caller as the token has it: what it does not tell, the caller lacks here."""
        return principal


class StaticTokenVerifier(_TokenChecks):
    """Checks tokens with keys that it is handed, and follows nothing; for tests.

    ```python
    protect(app, StaticTokenVerifier(jwks, issuer="https://auth.example.com", audience="keyturn"))
    ```
    """

    def __init__(
        self,
        jwks: Mapping[str, object],
        *,
        issuer: str,
        audience: str,
        clock: Clock | None = None,
    ) -> None:
        """Trust the public keys of a JWK Set, whatever is revoked.

        Raises:
            ValueError: it is no JWK Set, or holds no key that can be used.
        """
        clock = clock or SystemClock()
        keys = keys_from_jwks(jwks)
        if not len(keys):
            raise ValueError("the JWK Set holds no public key that can be used")
        _require_audience(audience)
        reader = PyJwtAccessTokenReader(keys, issuer=issuer)
        rule = AccessRule.only(audience)
        super().__init__(AuthenticateAccess(reader, _no_revocations(clock), clock, rule=rule))


class TokenVerifier(_TokenChecks):
    """Checks tokens with the keys that their issuer publishes, and follows what it revokes.

    Checking costs no I/O: keys and revocations are fetched in the background, from `async with` or
    `lifespan` on. Where they have not been fetched yet, no token is trusted. It can be opened once.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        revocations: RevocationChoice,
        jwks_url: str | None = None,
        revocations_url: str | None = None,
        keys: KeyFetching = KeyFetching(),  # noqa: B008 - it never changes
        allow_plain_http: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Trust what `issuer` signs for `audience`.

        Args:
            issuer: the `iss`, which is the URL that keyturn is reached at.
            audience: the `aud`: the resource that this service was declared as, or the default
                audience. A token for the issuer is rejected, unless the issuer is named here.
            revocations: a `RevocationFeed`, or `IgnoreRevocations()`.
            jwks_url: where the keys are, if not at `/.well-known/jwks.json` of the issuer.
            revocations_url: where the feed is, if not at `/v1/revocations` of the issuer.
            keys: when they are fetched, and for how long they serve without.
            allow_plain_http: whether keys may be fetched without TLS from another machine, which
                lets whoever sits between decide which tokens are good.
            transport: how requests are sent, for tests.

        Raises:
            ValueError: an argument is empty or contradicts another, or a URL is not safe to use.
        """
        _require_audience(audience)
        base = issuer.rstrip("/")
        jwks_url = jwks_url or f"{base}/.well-known/jwks.json"
        revocations_url = revocations_url or f"{base}/v1/revocations"
        for url in (jwks_url, revocations_url):
            _require_safe(url, allow_plain_http=allow_plain_http)
        clock = clock or SystemClock()
        self._http = httpx.AsyncClient(
            transport=transport, timeout=_REQUEST_TIMEOUT.total_seconds(), follow_redirects=False
        )
        self._keys = RemoteKeys[VerificationKey](
            self._http, jwks_url, lambda document: keys_from_jwks(document).find, clock, keys
        )
        self._follow: FollowRevocations | None = None
        if isinstance(revocations, IgnoreRevocations):
            replica = _no_revocations(clock)
        else:
            feed = HttpRevocationList(
                self._http,
                revocations_url,
                client_id=revocations.client_id,
                client_secret=_secret(revocations.client_secret),
            )
            replica = RevocationReplica(feed, clock, _staleness(revocations))
            self._follow = FollowRevocations(replica, revocations.lag, revocations.max_staleness)
        self._refresh_keys = Repetition(
            "fetching the keys that tokens are signed with",
            self._keys.refresh,
            pause=timedelta(0),
            timeout=_FETCH_TIMEOUT,
            sleep=self._until_keys_are_due,
        )
        reader = PyJwtAccessTokenReader(self._keys, issuer=issuer)
        rule = AccessRule.only(audience)
        super().__init__(AuthenticateAccess(reader, replica, clock, rule=rule))
        self._open = AsyncExitStack()

    async def authenticate(
        self, access_token: Secret | str, proof: Proof | None = None
    ) -> Principal:
        """Return the caller.

        No I/O, but for a token that names a key which is not known: then the keys are fetched, at
        most once in the cooldown, and whoever needs them waits for the same fetch.

        Raises:
            InvalidAccessToken: the token is malformed, forged, expired, revoked or of another kind.
            WrongAudience: the token is for another resource.
            KeysUnavailable: nobody can tell at the moment which keys sign.
            RevocationsUnknown: nobody can tell at the moment whether the token is revoked.
        """
        try:
            return await super().authenticate(access_token, proof)
        except UnknownKey:
            pass
        await self._keys.look_again()
        return await super().authenticate(access_token, proof)

    async def check(self) -> None:
        """Return if tokens can be checked, for a health check of your own.

        Raises:
            KeysUnavailable: there are no keys, or they are too old.
            RevocationsUnknown: the feed could not be read for too long, fail-open or not.
        """
        self._keys.check()
        if self._follow is not None:
            await self._follow.check()

    async def __aenter__(self) -> Self:
        """Fetch keys and revocations once, and then in the background.

        What can't be fetched is logged and tried again; tokens are answered with a 503 meanwhile.
        """
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(self._http)
            if self._follow is None:
                await self._refresh_keys.once()
                await opening.enter_async_context(_running(self._refresh_keys.forever))
            else:
                await asyncio.gather(self._refresh_keys.once(), self._follow.once())
                await opening.enter_async_context(
                    _running(self._refresh_keys.forever, self._follow.forever)
                )
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop following."""
        await self._open.aclose()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:  # noqa: ARG002 - frameworks hand it over
        """Keep the verifier open while an app runs: `FastAPI(lifespan=verifier.lifespan)`."""
        async with self:
            yield

    async def _until_keys_are_due(self, _: float) -> None:
        await asyncio.sleep(self._keys.pause().total_seconds())


class _NothingRevoked(RevocationList):
    async def read(self, after: str | None) -> RevocationPage:  # noqa: ARG002 - the port's signature
        return RevocationPage((), "")


def _no_revocations(clock: Clock) -> RevocationReplica:
    return RevocationReplica(_NothingRevoked(), clock, max_staleness=None)


def _staleness(feed: RevocationFeed) -> timedelta | None:
    return None if feed.when_lost is WhenLost.FAIL_OPEN else feed.max_staleness


def _secret(value: Secret | str) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _require_audience(audience: str) -> None:
    if not audience:
        raise ValueError("a verifier needs an audience")


def _require_safe(url: str, *, allow_plain_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no URL such as https://auth.example.com")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not allow_plain_http:
        raise ValueError(
            f"{url!r} must be https, or allow_plain_http be True on a network that is safe"
        )


@asynccontextmanager
async def _running(*forever: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(each()) for each in forever]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
