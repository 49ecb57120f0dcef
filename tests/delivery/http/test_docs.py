"""The page that shows the interface: complete, offline, under a strict policy."""

import re

import httpx

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
