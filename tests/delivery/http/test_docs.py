"""The page that shows the interface: complete, offline, under a strict policy."""

import json
import re
import shutil
import subprocess
from importlib.resources import files

import httpx
import pytest

from keyturn.testing.in_memory import PASSWORD
from keyturn.use_cases.token_pair import TokenPair

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def test_the_page_takes_everything_from_here(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-security-policy"] == POLICY
    assert "//" not in page.text
    assert re.findall(r"<script(?! src=)[^>]*>|<style|\bon[a-z]+=|style=", page.text) == []
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 4
    for asset in assets:
        answer = await client.get(f"/{asset}")
        assert answer.status_code == 200, asset
        assert "max-age" in answer.headers["cache-control"]


async def test_the_assets_are_swagger_ui_5(client: httpx.AsyncClient) -> None:
    # Older ones can't read OpenAPI 3.1.
    bundle = await client.get("/docs/swagger-ui-bundle.js")
    assert bundle.headers["content-type"].startswith("text/javascript")
    assert re.search(r'"5\.\d+\.\d+"', bundle.text)
    assert (await client.get("/docs/swagger-ui.css")).headers["content-type"].startswith("text/css")


async def test_the_start_script_reads_the_document_beside_the_page(
    client: httpx.AsyncClient,
) -> None:
    script = (await client.get("/docs/start.js")).text
    assert 'url: "openapi.json"' in script
    assert "http" not in script.replace("https://", "http").partition("//")[2].partition("\n")[2]


async def test_nothing_else_is_served_from_there(client: httpx.AsyncClient) -> None:
    for name in ("../app.py", "..%2fapp.py", "docs.html", "__init__.py", "%00"):
        assert (await client.get(f"/docs/{name}")).status_code == 404


START = """
const asked = [];
globalThis.window = globalThis;
globalThis.location = new URL("https://auth.example.com/auth/docs");
globalThis.fetch = async (url) => {
  asked.push(url);
  return { json: async () => ({ issuer: "https://auth.example.com/auth" }) };
};
globalThis.SwaggerUIBundle = (configuration) => {
  globalThis.configuration = configuration;
  return { initOAuth() {} };
};
"""
CALLS = """
(async () => {
  const ofSwaggerUi = { "X-Requested-With": "XMLHttpRequest" };
  const requests = [
    { url: "https://auth.example.com/auth/oauth/token", headers: ofSwaggerUi, body: "a=b" },
    { url: "https://auth.example.com/auth/oauth/token", headers: {}, body: "a=b" },
    { url: "https://auth.example.com/auth/v1/users/me", headers: ofSwaggerUi, body: "a=b" },
    { url: "openapi.json", headers: {} },
  ];
  const bodies = [];
  for (const request of requests) bodies.push((await configuration.requestInterceptor(request)).body ?? null);
  console.log(JSON.stringify({ asked, bodies }));
})();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_token_request_of_the_page_asks_for_the_issuer() -> None:
    script = (files("keyturn.delivery.http") / "assets" / "start.js").read_text()
    ran = subprocess.run(
        ["node", "-e", START + script + CALLS], capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout) == {
        "asked": [".well-known/oauth-authorization-server"],
        "bodies": ["a=b&resource=https%3A%2F%2Fauth.example.com%2Fauth", "a=b", "a=b", None],
    }


async def test_swagger_ui_still_calls_the_interceptor_for_its_token_request(
    client: httpx.AsyncClient,
) -> None:
    bundle = (await client.get("/docs/swagger-ui-bundle.js")).text
    request = bundle.partition("authorizeRequest=")[2][:1200]
    assert 'Requested-With":"XMLHttpRequest"' in request
    assert "requestInterceptor:" in request


async def test_the_token_that_the_page_asks_for_administers(
    client: httpx.AsyncClient, root: TokenPair
) -> None:
    metadata = (await client.get("/.well-known/oauth-authorization-server")).json()
    form = {
        "grant_type": "password",
        "username": "root@example.com",
        "password": PASSWORD.reveal(),
        "resource": metadata["issuer"],
    }
    tokens = (await client.post("/oauth/token", data=form)).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await client.get("/v1/admin/users", headers=headers)).status_code == 200
