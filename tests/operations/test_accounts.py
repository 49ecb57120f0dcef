"""The whole way of an account by mail, on a real server, a real database and a real mail server."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

import httpx
import pytest

PERSON = {"email": "ada@example.com", "password": "a passphrase of my own"}
NEW_PASSWORD = "seven quiet glaciers"


class Api(Protocol):
    url: str

    def call(
        self, method: str, path: str, token: str | None = None, body: object = None
    ) -> httpx.Response: ...

    def register_and_log_in(self) -> dict[str, str]: ...

    def log_in(self) -> dict[str, str]: ...

    def verdicts(self, token: str, times: int = 8) -> set[int]: ...


class Sink(Protocol):
    mails: list[EmailMessage]

    def about(self, words: str) -> list[EmailMessage]: ...


Connect = Callable[[str], Api]
Eventually = Callable[[Callable[[], bool]], None]
Serve = Callable[..., AbstractContextManager[str]]


def token_in(mail: EmailMessage, page: str) -> str:
    """The token of the link in a mail, which leads to a page of the service."""
    text = mail.get_body(("plain",))
    assert text is not None
    found = re.search(rf"(http://\S+){page}#token=([\w-]+)", text.get_content())
    assert found
    return found[2]


def test_somebody_verifies_forgets_and_resets_and_old_sessions_die(
    environment: pytest.MonkeyPatch,
    serving: Serve,
    api: Connect,
    eventually: Eventually,
    mail_sink: Sink,
    empty_database_url: str,
    tmp_path: Path,
) -> None:
    environment.setenv("KEYTURN_DATABASE_URL", empty_database_url)
    environment.setenv("KEYTURN_REQUIRE_VERIFIED_EMAIL", "true")
    environment.setenv("KEYTURN_METRICS_PORT", "0")
    with serving("--workers", "2", "--migrate") as banner:
        service = api(banner)
        assert service.call("POST", "/v1/auth/register", body=PERSON).status_code == 201
        eventually(lambda: len(mail_sink.mails) == 1)
        # Who knows the password and has not verified the address is sent another link.
        assert service.call("POST", "/v1/auth/login", body=PERSON).status_code == 401
        eventually(lambda: len(mail_sink.about("Confirm your e-mail address")) == 2)
        verification = {"token": token_in(mail_sink.mails[1], "/account/verify-email")}
        confirm = "/v1/auth/email-verification/confirm"
        assert service.call("POST", confirm, body=verification).status_code == 204
        assert service.call("POST", confirm, body=verification).status_code == 422
        tokens = service.log_in()

        forgotten = {"email": PERSON["email"]}
        assert service.call("POST", "/v1/auth/password-reset", body=forgotten).status_code == 202
        eventually(lambda: len(mail_sink.about("Choose a new password")) == 1)
        reset = token_in(mail_sink.mails[-1], "/account/reset-password")
        body = {"token": reset, "new_password": NEW_PASSWORD}
        done = service.call("POST", "/v1/auth/password-reset/confirm", body=body)
        assert done.status_code == 204

        eventually(lambda: service.verdicts(tokens["access_token"]) == {401})
        refresh = {"refresh_token": tokens["refresh_token"]}
        assert service.call("POST", "/v1/auth/refresh", body=refresh).status_code == 401
        assert service.call("POST", "/v1/auth/login", body=PERSON).status_code == 401
        now = {**PERSON, "password": NEW_PASSWORD}
        assert service.call("POST", "/v1/auth/login", body=now).status_code == 200
        eventually(lambda: len(mail_sink.about("Your password at keyturn was changed")) == 1)
        # Counted once the mail server has said that it took it.
        eventually(lambda: mails_counted(banner) == len(mail_sink.mails) == 4)
        assert {mail["To"] for mail in mail_sink.mails} == {PERSON["email"]}
    # Whatever is in a mail is in no log.
    log = (tmp_path / "stderr.txt").read_text()
    for secret in (reset, verification["token"], NEW_PASSWORD):
        assert secret not in log


def mails_counted(banner: str) -> float:
    """How many mails the service says that it has sent, by whichever worker."""
    address = re.search(r"Metrics are at (http://\S+)", banner)
    assert address
    page = httpx.get(address[1], timeout=60).text
    found = re.search(r'^keyturn_mails_total\{result="sent"\} (\S+)$', page, re.MULTILINE)
    return float(found[1]) if found else 0
