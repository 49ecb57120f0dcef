"""The app on in-memory adapters, and clients that speak HTTP with it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

import httpx
import pytest
from fastapi import FastAPI

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.routes_keys import PublishedKeys
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE
from keyturn.testing.doubles import FixedBlocklist
from keyturn.testing.in_memory import ISSUER, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.token_pair import TokenPair


class NoKeys(PublishedKeys):
    """A set of keys that is there."""

    def jwks(self) -> bytes:
        """Return an empty one."""
        return b'{"keys":[]}'


@pytest.fixture
def no_keys() -> PublishedKeys:
    """What an app publishes that has no key to publish."""
    return NoKeys()


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    """A service in memory that refuses one common password."""
    return InMemoryKeyturn(blocklist=FixedBlocklist("password password"))


@pytest.fixture
def services() -> Callable[..., Services]:
    """Makes the services of a `keyturn`, as the container would."""

    def services(
        keyturn: InMemoryKeyturn,
        readiness: Mapping[str, Callable[[], Awaitable[None]]] | None = None,
    ) -> Services:
        return Services(
            register_user=keyturn.register_user,
            login_user=keyturn.login_user,
            rotate_refresh=keyturn.rotate_refresh,
            revoke_family=keyturn.revoke_family,
            revoke_all_families=keyturn.revoke_all_families,
            authenticate_access=keyturn.authenticate_access,
            reauthenticate=keyturn.reauthenticate,
            resources=keyturn.resources,
            load_user=keyturn.load_user,
            update_profile=keyturn.update_profile,
            change_password=keyturn.change_password,
            list_sessions=keyturn.list_sessions,
            end_session=keyturn.end_session,
            estimate_strength=keyturn.estimate_strength,
            request_email_verification=keyturn.request_email_verification,
            request_email_change=keyturn.request_email_change,
            confirm_email=keyturn.confirm_email,
            request_password_reset=keyturn.request_password_reset,
            reset_password=keyturn.reset_password,
            export_account=keyturn.export_account,
            delete_account=keyturn.delete_account,
            erase_user=keyturn.erase_user,
            resolve_permissions=keyturn.resolve_permissions,
            list_users=keyturn.list_users,
            get_user=keyturn.get_user,
            change_user=keyturn.change_user,
            assign_roles=keyturn.assign_roles,
            list_roles=keyturn.list_roles,
            define_role=keyturn.define_role,
            delete_role=keyturn.delete_role,
            list_audit_events=keyturn.list_audit_events,
            authenticate_client=keyturn.authenticate_client,
            introspect_token=keyturn.introspect_token,
            revoke_token=keyturn.revoke_token,
            list_revocations=keyturn.list_revocations,
            check_proof=keyturn.check_proof,
            record_refusal=keyturn.record_refusal,
            readiness=readiness or {},
        )

    return services


@pytest.fixture
async def connect(
    keyturn: InMemoryKeyturn, services: Callable[..., Services]
) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """Makes a client: of another app, or of one for another `keyturn` or with other options."""
    async with AsyncExitStack() as stack:

        def connect(
            *,
            app: FastAPI | None = None,
            keyturn: InMemoryKeyturn = keyturn,
            readiness: Mapping[str, Callable[[], Awaitable[None]]] | None = None,
            options: HttpOptions | None = None,
            base_url: str = "https://auth.example.com",
            address: str = "192.0.2.7",
        ) -> httpx.AsyncClient:
            served = app or build_app(services(keyturn, readiness), options or HttpOptions())
            transport = httpx.ASGITransport(served, client=(address, 40000))
            client = httpx.AsyncClient(transport=transport, base_url=base_url)
            stack.push_async_callback(client.aclose)
            return client

        yield connect


def but_for_its_id(answer: httpx.Response) -> str:
    """Return the body of a problem without the id of its request: what the caller learns."""
    members = answer.json()
    assert members.pop("request_id") == answer.headers["x-request-id"]
    return json.dumps(members)


@pytest.fixture
def client(connect: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    """A client of an app with the default options."""
    return connect()


@pytest.fixture
async def ada(keyturn: InMemoryKeyturn) -> TokenPair:
    """The tokens of a user who has registered and logged in."""
    await keyturn.register()
    return await keyturn.login()


@pytest.fixture
def as_ada(ada: TokenPair) -> dict[str, str]:
    """The headers of a request that she sends."""
    return {"Authorization": f"Bearer {ada.access_token.reveal()}"}


@pytest.fixture
def enter(keyturn: InMemoryKeyturn) -> Callable[..., Awaitable[TokenPair]]:
    """Registers somebody with these roles, here or in another `keyturn`, and logs them in.

    Their access token is for the issuer, which ordinary routes and the administration accept.
    """

    async def enter(
        email: str,
        *roles: str,
        keyturn: InMemoryKeyturn = keyturn,
        scope: frozenset[str] | None = None,
        resource: str | None = ISSUER,
    ) -> TokenPair:
        await keyturn.register_user.execute(
            RegisterUserCommand(
                email, PASSWORD, roles=frozenset(roles), email_is_verified="admin" in roles
            )
        )
        return await keyturn.login_user.execute(
            LoginUserCommand(email, PASSWORD, scope=scope, resource=resource)
        )

    return enter


@pytest.fixture
async def root(enter: Callable[..., Awaitable[TokenPair]]) -> TokenPair:
    """The tokens of an administrator."""
    return await enter("root@example.com", ADMIN_ROLE.name, USER_ROLE.name)


@pytest.fixture
def as_root(root: TokenPair) -> dict[str, str]:
    """The headers of a request that the administrator sends."""
    return {"Authorization": f"Bearer {root.access_token.reveal()}"}
