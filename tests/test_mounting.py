"""The service inside other apps, several of them in one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI

from keyturn.adapters.sqlalchemy.migrations import migrate
from keyturn.delivery.http import CurrentPrincipal, CurrentUser, require_permission
from keyturn.domain.errors import HashingBusy
from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.main import mount
from keyturn.settings import Settings, SettingsError

PERSON = {"email": "ada@example.com", "password": "a passphrase of my own"}


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory without a `.env`."""
    monkeypatch.chdir(tmp_path)


def settings_in(folder: Path, **chosen: object) -> Settings:
    cheapest = {"argon2_time_cost": 5, "argon2_memory_kib": 7168, "argon2_parallelism": 1}
    return Settings.model_validate({"data_dir": folder} | cheapest | chosen)


def notes() -> FastAPI:
    """An app of somebody else."""
    app = FastAPI(title="notes")

    @app.get("/me")
    async def me(principal: CurrentPrincipal) -> str:
        return str(principal.user_id)

    @app.get("/address")
    async def address(user: CurrentUser) -> str:
        return user.email

    @app.get("/profile")
    async def profile(
        principal: Annotated[Principal, Depends(require_permission("profile:read"))],
    ) -> str:
        return str(principal.user_id)

    @app.delete("/posts", dependencies=[Depends(require_permission("posts:delete"))])
    async def delete_posts() -> None: ...

    @app.get("/open")
    async def anybody() -> str:
        return "hello"

    return app


@asynccontextmanager
async def running(*apps: FastAPI) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        clients = []
        for app in apps:
            await stack.enter_async_context(app.router.lifespan_context(app))
            clients.append(
                await stack.enter_async_context(
                    httpx.AsyncClient(
                        transport=httpx.ASGITransport(app), base_url="https://example.com"
                    )
                )
            )
        yield clients


async def mounted(host: FastAPI, settings: Settings, path: str = "/auth") -> FastAPI:
    service = await asyncio.to_thread(mount, host, settings, path)
    await migrate(settings.used_database_url)
    return service


async def entered(client: httpx.AsyncClient, path: str = "/auth") -> dict[str, str]:
    """The headers of somebody who has registered and logged in."""
    assert (await client.post(f"{path}/v1/auth/register", json=PERSON)).status_code == 201
    tokens = (await client.post(f"{path}/v1/auth/login", json=PERSON)).json()
    return {"Authorization": f"Bearer {tokens['access_token']}"}


async def test_the_routes_of_the_host_know_who_calls(tmp_path: Path) -> None:
    host = notes()
    await mounted(host, settings_in(tmp_path / "data"))
    async with running(host) as [client]:
        assert (await client.get("/open")).text == '"hello"'
        refused = await client.get("/me")
        assert (refused.status_code, refused.json()["code"]) == (401, "authentication_required")
        hers = await entered(client)
        me = (await client.get("/auth/v1/users/me", headers=hers)).json()
        for path in ("/me", "/profile"):
            assert (await client.get(path, headers=hers)).json() == me["id"]
        assert (await client.get("/address", headers=hers)).json() == PERSON["email"]
        refused = await client.delete("/posts", headers=hers)
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
        await client.post("/auth/v1/auth/logout", headers=hers)
        assert (await client.get("/me", headers=hers)).status_code == 401


async def test_two_instances_in_one_process_know_nothing_of_each_other(tmp_path: Path) -> None:
    one, other = notes(), notes()
    await mounted(one, settings_in(tmp_path / "one", algorithm="ES256"))
    await mounted(other, settings_in(tmp_path / "other", password_grant=False), "/id")
    async with running(one, other) as [here, there]:
        ada, eve = await entered(here), await entered(there, "/id")
        asked = await asyncio.gather(
            *(
                client.get("/me", headers=headers)
                for client in (here, there)
                for headers in (ada, eve)
            )
        )
        assert [answer.status_code for answer in asked] == [200, 401, 401, 200]
        metadata = ".well-known/oauth-authorization-server"
        told = [
            (await here.get(f"/auth/{metadata}")).json(),
            (await there.get(f"/id/{metadata}")).json(),
        ]
        assert [each["grant_types_supported"] for each in told] == [
            ["password", "refresh_token"],
            ["refresh_token"],
        ]


async def test_one_app_holds_two_instances_and_is_guarded_by_one(tmp_path: Path) -> None:
    host = notes()
    guard, other = settings_in(tmp_path / "one"), settings_in(tmp_path / "other")
    await mounted(host, guard)
    with pytest.raises(ValueError, match="guards_host=False"):
        await mounted(host, other, "/partners")
    await asyncio.to_thread(mount, host, other, "/partners", guards_host=False)
    await migrate(other.used_database_url)
    async with running(host) as [client]:
        ada, eve = await entered(client), await entered(client, "/partners")
        assert (await client.get("/me", headers=ada)).status_code == 200
        assert (await client.get("/me", headers=eve)).status_code == 401
        assert (await client.get("/partners/v1/users/me", headers=eve)).status_code == 200
        assert (await client.get("/auth/v1/users/me", headers=eve)).status_code == 401


async def test_the_lifespan_of_the_host_is_kept_and_stands_inside(tmp_path: Path) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        await app.state.keyturn.readiness["database"]()
        seen.append("opened")
        yield {"greeting": "hello"}
        await app.state.keyturn.readiness["database"]()
        seen.append("closed")

    host = FastAPI(lifespan=lifespan)
    service = await mounted(host, settings_in(tmp_path / "data"))
    async with host.router.lifespan_context(host) as state:
        assert state == {"greeting": "hello"}
        assert seen == ["opened"]
    assert seen == ["opened", "closed"]
    with pytest.raises(HashingBusy):
        await service.state.keyturn.register_user._hasher.hash(Secret("too late"))


async def test_it_is_ready_when_the_host_begins_to_serve(tmp_path: Path) -> None:
    host = notes()
    await mounted(host, settings_in(tmp_path / "data"))
    async with running(host) as [client]:
        assert (await client.get("/auth/health/ready")).status_code == 200


async def test_cookies_of_a_mounted_service_have_the_path_that_their_prefix_requires(
    tmp_path: Path,
) -> None:
    host = notes()
    await mounted(host, settings_in(tmp_path / "data"))
    async with running(host) as [client]:
        await entered(client)
        answer = await client.post("/auth/v1/auth/login", json=PERSON | {"transport": "cookie"})
        names = []
        for line in answer.headers.get_list("set-cookie"):
            assert "; Path=/;" in line
            assert "Domain" not in line
            names.append(line.partition("=")[0])
        assert names == ["__Host-keyturn_refresh", "__Host-keyturn_device"]
        refreshed = await client.post(
            "/auth/v1/auth/refresh",
            headers={"X-Requested-With": "x", "Origin": "https://example.com"},
        )
        assert refreshed.status_code == 200


async def test_both_documents_say_where_tokens_come_from(tmp_path: Path) -> None:
    host = notes()
    await mounted(host, settings_in(tmp_path / "data"))
    async with running(host) as [client]:
        paths = ("/auth/openapi.json", "/openapi.json", "/openapi.json")
        documents = [(await client.get(path)).json() for path in paths]
        for document in documents:
            flow = document["components"]["securitySchemes"]["AccessToken"]["flows"]["password"]
            assert flow["tokenUrl"] == "/auth/oauth/token"
        assert documents[-1]["info"]["title"] == "notes"
        assert set(documents[-1]["paths"]) == {"/me", "/address", "/profile", "/posts", "/open"}
        assert documents[0]["servers"] == [{"url": "/auth"}]
        form = {"grant_type": "password", "username": PERSON["email"], "password": "wrong one"}
        refused = await client.post("/auth/oauth/token", data=form)
        assert refused.json()["error"] == "invalid_grant"


async def test_clients_find_the_metadata_where_the_rfc_says(tmp_path: Path) -> None:
    host = notes()
    settings = settings_in(tmp_path / "data", issuer="https://example.com/api/auth")
    await mounted(host, settings)
    async with running(host) as [client]:
        told = (await client.get("/.well-known/oauth-authorization-server/api/auth")).json()
        assert told["issuer"] == "https://example.com/api/auth"
        assert told["token_endpoint"] == "https://example.com/api/auth/oauth/token"


def test_an_issuer_that_is_somewhere_else_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "data", issuer="https://example.com")
    with pytest.raises(SettingsError, match="KEYTURN_ISSUER: must end with /auth"):
        mount(FastAPI(), settings)


@pytest.mark.parametrize("path", ["", "/", "auth", "/auth/", "/a b", "/{x}"])
def test_a_path_that_is_none_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a path to mount at"):
        mount(FastAPI(), settings_in(tmp_path / "data"), path)
    assert not (tmp_path / "data").exists()


async def test_the_page_about_it_shows_what_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "embedding.md").read_text(encoding="utf-8")
    shown = page.partition("```python\n")[2].partition("```")[0]
    monkeypatch.setenv("KEYTURN_DATA_DIR", str(tmp_path / "data"))
    names: dict[str, object] = {}
    await asyncio.to_thread(exec, shown, names)
    app = names["app"]
    assert isinstance(app, FastAPI)
    await migrate(Settings(data_dir=tmp_path / "data").used_database_url)
    async with running(app) as [client]:
        assert (await client.get("/notes")).status_code == 401
        assert (await client.get("/auth/health/ready")).status_code == 200
