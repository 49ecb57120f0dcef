"""The pages that mails lead to, in a real browser."""

import json
import os
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PERSON = {"email": "ada@example.com", "password": "a passphrase of my own"}
NEW_PASSWORD = "seven quiet glaciers"
LIMIT = 60.0
"""Seconds that the browser may take for one answer."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

START = """
import fcntl, os, sys
its_input, its_output = (fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3])
os.dup2(its_input, 3)
os.dup2(its_output, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the pipes where the browser looks for them, and becomes the browser."""


class Api(Protocol):
    url: str

    def call(
        self, method: str, path: str, token: str | None = None, body: object = None
    ) -> httpx.Response: ...


class Sink(Protocol):
    mails: list[EmailMessage]

    def about(self, words: str) -> list[EmailMessage]: ...


Eventually = Callable[[Callable[[], bool]], None]


class Browser:
    """Chromium without a window, told what to do through a pipe (its DevTools protocol)."""

    def __init__(self, profile: Path) -> None:
        its_input, self._to = os.pipe()
        self._from, its_output = os.pipe()

        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", START, str(its_input), str(its_output), str(CHROMIUM)),
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--no-first-run", "--disable-extensions", "--no-proxy-server"),
                *("--disable-background-networking", "--remote-debugging-pipe"),
                f"--user-data-dir={profile}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(its_input, its_output),
        )
        os.close(its_input)
        os.close(its_output)
        self._number = 0
        self._read = b""
        self._session: str | None = None
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def open(self, url: str) -> None:
        """Go to a page as if it were the first one."""
        # An address that differs behind the # alone would load nothing.
        self._ask("Page.navigate", url="about:blank")
        self._ask("Page.navigate", url=url)

    def run(self, script: str) -> object:
        """Return what an expression is in the page."""
        told = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        return told["result"].get("value")

    def type(self, text: str) -> None:
        """Type where the cursor is."""
        self._ask("Input.insertText", text=text)

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        for end in (self._to, self._from):
            with suppress(OSError):
                os.close(end)

    def _ask(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next_message()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            assert select.select([self._from], [], [], LIMIT)[0], "the browser does not answer"
            piece = os.read(self._from, 65536)
            assert piece, "the browser has ended"
            self._read += piece
        text, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser that nobody has used."""
    browser = Browser(tmp_path / "browser")
    try:
        yield browser
    finally:
        browser.close()


def link_in(mail: EmailMessage) -> str:
    """The link of a mail."""
    text = mail.get_body(("plain",))
    assert text is not None
    found = re.search(r"http://\S+#token=\S+", text.get_content())
    assert found
    return found[0]


RESULT = "document.getElementById('result')?.textContent"


def test_an_address_is_verified_and_a_password_reset_by_following_the_links(
    serving: Callable[..., AbstractContextManager[str]],
    api: Callable[[str], Api],
    eventually: Eventually,
    mail_sink: Sink,
    browser: Browser,
    tmp_path: Path,
) -> None:
    with serving() as banner:
        service = api(banner)
        service.call("POST", "/v1/auth/register", body=PERSON)
        eventually(lambda: len(mail_sink.mails) == 1)
        link = link_in(mail_sink.mails[0])

        browser.open(link)
        press_when_shown(browser, eventually)
        eventually(lambda: browser.run("document.getElementById('proof').hidden") is False)
        type_when_shown(browser, eventually, "not the password of it")
        press_when_shown(browser, eventually)
        eventually(lambda: "password is wrong" in str(browser.run(RESULT)))
        browser.run("document.querySelector('[value=new_password]').click()")
        type_when_shown(browser, eventually, "too short")
        press_when_shown(browser, eventually)
        eventually(lambda: "at least 15 characters" in str(browser.run(RESULT)))
        browser.run("document.querySelector('[value=password]').click()")
        type_when_shown(browser, eventually, PERSON["password"])
        press_when_shown(browser, eventually)
        eventually(lambda: "is confirmed" in str(browser.run(RESULT)))
        assert browser.run("document.querySelector('form').hidden") is True
        # The token is neither in the address bar nor in the history any more.
        assert "token" not in str(browser.run("location.href"))
        browser.open(link)
        press_when_shown(browser, eventually)
        eventually(lambda: "invalid, expired or used" in str(browser.run(RESULT)))
        browser.open(link.partition("#")[0])
        eventually(lambda: "link is incomplete" in str(browser.run(RESULT)))

        service.call("POST", "/v1/auth/password-reset", body={"email": PERSON["email"]})
        eventually(lambda: len(mail_sink.about("Choose a new password")) == 1)
        browser.open(link_in(mail_sink.mails[-1]))
        type_when_shown(browser, eventually, "too short")
        press_when_shown(browser, eventually)
        eventually(lambda: "at least 15 characters" in str(browser.run(RESULT)))
        assert browser.run("document.activeElement.getAttribute('aria-invalid')") == "true"
        type_when_shown(browser, eventually, NEW_PASSWORD)
        press_when_shown(browser, eventually)
        eventually(lambda: "password is set" in str(browser.run(RESULT)))
        now = {**PERSON, "password": NEW_PASSWORD}
        assert service.call("POST", "/v1/auth/login", body=now).status_code == 200
    assert "token=" not in (tmp_path / "stderr.txt").read_text()


def press_when_shown(browser: Browser, eventually: Eventually) -> None:
    """Press the button once it can be pressed."""
    ready = "document.querySelector('form:not([hidden]) button:not(:disabled)') !== null"
    eventually(lambda: browser.run(ready) is True)
    browser.run("document.querySelector('button').click()")


def type_when_shown(browser: Browser, eventually: Eventually, text: str) -> None:
    """Replace what is in the field."""
    ready = "document.querySelector('form:not([hidden]) button:not(:disabled)') !== null"
    eventually(lambda: browser.run(ready) is True)
    browser.run("document.getElementById('password').select()")
    browser.type(text)
