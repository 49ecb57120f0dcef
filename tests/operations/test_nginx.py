"""nginx asks keyturn before it hands out a file, configured as the documentation says."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import httpx
import pytest

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
PERSON = {"email": "ada@example.com", "password": "a passphrase of my own"}

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


class Api(Protocol):
    url: str

    def register_and_log_in(self) -> dict[str, str]: ...

    def log_in(self) -> dict[str, str]: ...


Eventually = Callable[[Callable[[], bool]], None]


def documented(replacements: dict[str, str]) -> str:
    """The configuration of the page, with the places of this test."""
    found = re.search(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    configuration = found[1]
    for written, here in replacements.items():
        assert written in configuration
        configuration = configuration.replace(written, here)
    return configuration


@contextmanager
def nginx(folder: Path, upstream: str, eventually: Eventually) -> Iterator[httpx.Client]:
    """nginx in front of what listens at `upstream`, and a client of it."""
    files = folder / "www" / "reports"
    files.mkdir(parents=True)
    (files / "q3.txt").write_text("secret figures")
    listening = folder / "nginx.sock"
    server = documented(
        {
            "server 127.0.0.1:8000;": f"server {upstream};",
            "listen 8080;": f"listen unix:{listening};",
            "root /srv/www;": f"root {folder / 'www'};",
        }
    )
    temporary = "".join(
        f"{kind}_temp_path {folder / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder / 'nginx.pid'};\n"
        f"error_log {folder / 'error.log'} warn;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{server}\n}}\n"
    )
    assert NGINX is not None
    with (
        subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf"]) as process,
        httpx.Client(
            transport=httpx.HTTPTransport(uds=str(listening)), base_url="http://files", timeout=60
        ) as client,
    ):
        try:
            eventually(lambda: process.poll() is not None or listening.exists())
            assert process.poll() is None, (folder / "error.log").read_text()
            yield client
        finally:
            process.terminate()


@pytest.fixture
def guarded(eventually: Eventually) -> Iterator[Callable[[str], httpx.Client]]:
    """Puts nginx before a service, for the time of a test."""
    with ExitStack() as stack:

        def guard(upstream: str) -> httpx.Client:
            # A short path: that of a socket has 100 characters at most.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyturn-")))
            return stack.enter_context(nginx(folder, upstream, eventually))

        yield guard


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_file_is_for_those_who_have_the_role(
    serving: Callable[..., AbstractContextManager[str]],
    api: Callable[[str], Api],
    guarded: Callable[[str], httpx.Client],
    keyturn_command: Callable[..., str],
) -> None:
    with serving() as banner:
        service = api(banner)
        files = guarded(service.url.removeprefix("http://"))

        nobody = files.get("/reports/q3.txt")
        assert nobody.status_code == 401
        assert nobody.headers["www-authenticate"] == 'Bearer realm="keyturn"'
        assert files.get("/reports/q3.txt", headers=bearer("x")).status_code == 401

        user = service.register_and_log_in()["access_token"]
        assert files.get("/reports/q3.txt", headers=bearer(user)).status_code == 403

        keyturn_command(
            *("create-admin", "--email", PERSON["email"], "--take-over"), answer=PERSON["password"]
        )
        admin = service.log_in()["access_token"]
        allowed = files.get("/reports/q3.txt?download=1", headers=bearer(admin))
        assert (allowed.status_code, allowed.text) == (200, "secret figures")
        assert files.get("/reports/none.txt", headers=bearer(admin)).status_code == 404
        # The body of a request is none of keyturn's business, and does not confuse it.
        assert files.post("/reports/q3.txt", headers=bearer(admin), content=b"x").status_code == 405


def test_nobody_asks_keyturn_through_the_location_that_nginx_asks_it_by(
    serving: Callable[..., AbstractContextManager[str]],
    api: Callable[[str], Api],
    guarded: Callable[[str], httpx.Client],
) -> None:
    with serving() as banner:
        service = api(banner)
        token = service.register_and_log_in()["access_token"]
        files = guarded(service.url.removeprefix("http://"))
        assert files.get("/_keyturn/is-admin", headers=bearer(token)).status_code == 404


def test_a_keyturn_that_can_not_answer_lets_nobody_in_and_is_told_as_503(
    guarded: Callable[[str], httpx.Client],
) -> None:
    # The port of the discard service: nobody listens there.
    files = guarded("127.0.0.1:9")
    refused = files.get("/reports/q3.txt", headers=bearer("x"))
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
