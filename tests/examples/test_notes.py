"""The example, tested as its own people would, and beside a real keyturn in another process."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from examples.notes.app import RESOURCE, build_app

from keyturn.client import KeyturnClient
from keyturn.testing import make_token, make_verifier
from keyturn.verifier.fastapi import protect

ROOT = Path(__file__).parents[2]
LIMIT = 30.0
"""Seconds after which a test gives up; far beyond what is promised, for slow machines."""

PASSWORD = "a passphrase of my own"
Serve = Callable[..., AbstractContextManager[str]]
WRITE = {"notes:read", "notes:write"}


async def test_a_note_is_its_owners_alone() -> None:
    transport = httpx.ASGITransport(build_app(make_verifier()))
    async with httpx.AsyncClient(transport=transport, base_url="https://notes.example") as client:
        ada, eve = ({"Authorization": f"Bearer {make_token(permissions=WRITE)}"} for _ in range(2))
        reader = {"Authorization": f"Bearer {make_token(permissions={'notes:read'})}"}
        assert (await client.get("/notes")).status_code == 401
        written = await client.post("/notes", json={"text": "hello"}, headers=ada)
        path = f"/notes/{written.json()['id']}"
        assert (await client.get(path, headers=ada)).json()["text"] == "hello"
        assert (await client.get("/notes", headers=ada)).json() == [written.json()]
        for stranger in (eve, reader):
            assert (await client.get(path, headers=stranger)).status_code == 404
            assert (await client.get("/notes", headers=stranger)).json() == []
        assert (await client.delete(path, headers=eve)).status_code == 404
        refused = await client.post("/notes", json={"text": "x"}, headers=reader)
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
        assert (await client.delete(path, headers=ada)).status_code == 204
        assert (await client.get(path, headers=ada)).status_code == 404
        assert (await client.get("/health/ready")).status_code == 204


async def test_what_the_pages_show_protects_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_URL", "https://auth.example.com")
    monkeypatch.setenv("NOTES_CLIENT_SECRET", "a secret")
    for page in ("examples/notes/README.md", "docs/verifier.md"):
        block = re.search(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
        assert block
        names: dict[str, Any] = {}
        exec(block[1], names)  # noqa: S102 - it is ours
        transport = httpx.ASGITransport(names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="https://n.example") as client:
            assert (await client.get("/notes")).status_code == 401
            protect(names["app"], make_verifier())
            for permissions, status in (({"notes:read"}, 200), (set(), 403)):
                headers = {"Authorization": f"Bearer {make_token(permissions=permissions)}"}
                assert (await client.get("/notes", headers=headers)).status_code == status


def test_notes_trusts_keyturn_and_obeys_it_at_once(
    environment: pytest.MonkeyPatch, serving: Serve, tmp_path: Path
) -> None:
    environment.setenv("KEYTURN_ALGORITHM", "RS256")

    def keyturn(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "keyturn", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    keyturn("migrate")
    secret = keyturn("clients", "add", "notes", "--revocations").strip()
    keyturn("resources", "add", RESOURCE)
    keyturn("roles", "define", "author", "notes:read", "notes:write")
    with ExitStack() as stack:
        found = re.search(r"keyturn is at (http://\S+)", stack.enter_context(serving()))
        assert found
        url = found[1]
        notes_url = stack.enter_context(_notes(tmp_path, url, secret))
        client_of: dict[str, KeyturnClient] = {}
        notes_of: dict[str, httpx.Client] = {}
        for name, roles in (("ada", ["user", "author"]), ("eve", ["user", "author"]), ("bob", [])):
            email = f"{name}@example.com"
            person = {"email": email, "password": PASSWORD}
            httpx.post(f"{url}/v1/auth/register", json=person, timeout=60).raise_for_status()
            if roles:
                keyturn("users", "set-roles", email, *roles)
            client = stack.enter_context(KeyturnClient(url))
            client.login(email, PASSWORD)
            client_of[name] = client
            notes_of[name] = stack.enter_context(
                httpx.Client(base_url=notes_url, auth=client.auth_for(RESOURCE), timeout=60)
            )

        # Access, no permission, and what belongs to somebody else.
        written = notes_of["ada"].post("/notes", json={"text": "hello"})
        assert written.status_code == 201, written.text
        path = f"/notes/{written.json()['id']}"
        assert notes_of["ada"].get(path).json()["text"] == "hello"
        assert notes_of["bob"].get("/notes").status_code == 403
        assert notes_of["eve"].get(path).status_code == 404

        # Another key signs, and nobody notices.
        ada = client_of["ada"]
        before = ada.token_for(RESOURCE)
        keyturn("keys", "rotate", "--now")

        def is_signed_by_the_new_key() -> bool:
            ada.token_for(RESOURCE, rejected=ada.token_for(RESOURCE))
            assert notes_of["ada"].get(path).status_code == 200
            header = before.reveal().partition(".")[0]
            return ada.token_for(RESOURCE).reveal().partition(".")[0] != header

        _eventually(is_signed_by_the_new_key)
        with_old_key = {"Authorization": f"Bearer {before.reveal()}"}
        assert httpx.get(notes_url + path, headers=with_old_key).status_code == 200

        # A token for the default audience is none for the notes.
        general = {"Authorization": f"Bearer {ada.access_token().reveal()}"}
        refused = httpx.get(notes_url + path, headers=general)
        assert (refused.status_code, refused.json()["code"]) == (401, "wrong_audience")
        assert refused.json()["resource"] == RESOURCE

        # A log-out there is a 401 here.
        token = ada.token_for(RESOURCE)
        client_of["ada"].logout()
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        _eventually(lambda: httpx.get(notes_url + path, headers=headers).status_code == 401)
        assert httpx.get(notes_url + path, headers=with_old_key).status_code == 401
        assert notes_of["eve"].get("/notes").status_code == 200


@contextmanager
def _notes(folder: Path, keyturn_url: str, secret: str) -> Iterator[str]:
    log = folder / "notes.txt"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--factory", "examples.notes.app:create_app"),
                *("--port", "0"),
            ],
            cwd=ROOT,
            env=os.environ
            | {
                "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
                "AUTH_URL": keyturn_url,
                "NOTES_CLIENT_SECRET": secret,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            _eventually(lambda: "running on http" in log.read_text() or process.poll() is not None)
            found = re.search(r"running on (http://\S+)", log.read_text())
            assert found, log.read_text()
            _eventually(lambda: httpx.get(f"{found[1]}/health/ready").status_code == 204)
            yield found[1]
        finally:
            process.terminate()
            process.wait(timeout=30)
    assert secret not in log.read_text()
    assert "Traceback" not in log.read_text()


def _eventually(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < give_up, "it has not come to pass"
        time.sleep(0.05)
