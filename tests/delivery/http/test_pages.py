"""The pages that mails lead to: self-contained, and closed to everything else."""

import re

import httpx
import pytest

PAGES = ("/account/verify-email", "/account/reset-password")


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_runs_nothing_but_its_own_and_tells_nobody_where_it_was(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert "unsafe" not in " ".join(policy)
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    # No script and no style stands in the page, where the policy would not let it run.
    assert not re.search(r"<script>|<style| style=| on\w+=", answer.text)


@pytest.mark.parametrize("path", PAGES)
async def test_all_that_a_page_names_is_there_relative_to_it(
    client: httpx.AsyncClient, path: str
) -> None:
    named = re.findall(r'(?:src|href)="((?!data:)[^"]+)"', (await client.get(path)).text)
    assert len(named) == 2
    for name in named:
        assert (await client.get(str(httpx.URL(path).join(name)))).status_code == 200
    (route,) = re.findall(r'data-route="([^"]+)"', (await client.get(path)).text)
    asked = await client.post(str(httpx.URL(path).join(route)), json={})
    assert (asked.status_code, asked.json()["code"]) == (422, "validation_failed")


@pytest.mark.parametrize("name", ["docs.html", "start.js", "..%2F..%2Ferrors.py", "x"])
async def test_no_other_file_is_served(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/account/assets/{name}")).status_code == 404


async def test_the_password_is_hidden_unless_it_is_to_be_shown_and_may_be_pasted(
    client: httpx.AsyncClient,
) -> None:
    page = (await client.get("/account/reset-password")).text
    (field,) = re.findall(r'<input id="password"[^>]*>', page)
    assert 'type="password"' in field
    # What a password manager looks for.
    assert 'autocomplete="new-password"' in field
    assert "maxlength" not in field
    assert '<input id="shown" type="checkbox">' in page
    script = (await client.get("/account/assets/account.js")).text
    assert not re.search("paste|clipboard|keydown|beforeinput", script, re.IGNORECASE)
