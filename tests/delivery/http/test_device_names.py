"""What a session is called whose user did not say."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from keyturn.delivery.http import device_names
from keyturn.delivery.http.device_names import device_name
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn

LOGIN = {"email": ADA, "password": PASSWORD.reveal()}
MOZILLA = "Mozilla/5.0"
SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36"
FIREFOX = f"{MOZILLA} (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (FIREFOX, "Firefox on Windows"),
        (
            f"{MOZILLA} (iPhone; CPU iPhone OS 17_5 like Mac OS X) {SAFARI}",
            "Mobile Safari on iOS",
        ),
        (
            f"{MOZILLA} (Linux; Android 14; Pixel 7) {CHROME}",
            "Chrome Mobile on Android",
        ),
        (f"{MOZILLA} (X11; Linux x86_64) Gecko/20100101", "Linux"),
        ("curl/8.5.0", "curl"),
        ("python-requests/2.32", "Python Requests"),
        ("Browser/1", None),
        ("", None),
        (None, None),
    ],
)
async def test_a_user_agent_gives_a_name_that_people_recognise(
    user_agent: str | None, name: str | None
) -> None:
    assert await device_name(user_agent) == name


@pytest.mark.parametrize(
    ("said", "name"), [({}, "Firefox on Windows"), ({"device_name": "Desk"}, "Desk")]
)
async def test_what_the_user_calls_it_comes_first(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, said: dict[str, str], name: str
) -> None:
    await keyturn.register()
    headers = {"User-Agent": FIREFOX}
    await client.post("/v1/auth/login", json={**LOGIN, **said}, headers=headers)
    (family,) = keyturn.store.families.values()
    assert (family.device.name, family.device.user_agent) == (name, FIREFOX)


async def test_a_client_of_oauth_is_named_too(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    form = {"grant_type": "password", "username": ADA, "password": PASSWORD.reveal()}
    await client.post("/oauth/token", data=form, headers={"User-Agent": "curl/8.5.0"})
    (family,) = keyturn.store.families.values()
    assert family.device.name == "curl"


HOSTILE = {
    "nothing": b"",
    "huge": b"Mozilla/5.0 (" + b"Linux; Android 9; " * 3000,
    "blanks": b"Mozilla/5.0" + b" " * 5000,
    "brackets": b"[" * 5000,
    "what matchers repeat": b"BotLinux; [iPhone OS Darwin/Java0.0.0_0" * 500,
    "not UTF-8": b"Mozilla/5.0 \xff\xfe (Windows NT 10.0)",
    "controls": b"curl\x1b[31m/8.5.0\x7f\x9b",
    "a pattern": b"(?P<a>.*)*\\1$",
    "markup": b"<script>alert(1)</script>/1.0 Chrome/1.0",
}


@pytest.mark.parametrize("user_agent", HOSTILE.values(), ids=HOSTILE)
async def test_no_user_agent_keeps_anybody_out(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, user_agent: bytes
) -> None:
    await keyturn.register()
    answer = await client.post("/v1/auth/login", json=LOGIN, headers={b"User-Agent": user_agent})
    assert answer.status_code == 200
    (family,) = keyturn.store.families.values()
    assert len(family.device.name or "") <= 100
    assert (family.device.name or "").isprintable()
    assert len(family.device.user_agent or "") <= 512


async def test_a_fault_of_the_library_keeps_nobody_out(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fail() -> Callable[..., object]:
        raise RecursionError

    monkeypatch.setattr("keyturn.delivery.http.device_names._parser", fail)
    await keyturn.register()
    headers = {"User-Agent": "Canary/1.0"}
    answer = await client.post("/v1/auth/login", json=LOGIN, headers=headers)
    assert answer.status_code == 200
    (family,) = keyturn.store.families.values()
    assert (family.device.name, family.device.user_agent) == (None, "Canary/1.0")
    assert "RecursionError" in caplog.text
    assert "Canary" not in caplog.text


def test_the_library_is_loaded_by_the_first_login_and_not_before() -> None:
    code = "import sys, keyturn.delivery.http; sys.exit('ua_parser' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(device_names.__file__).parents[3])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert run.returncode == 0
