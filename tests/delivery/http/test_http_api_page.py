"""The page about the HTTP interface says what the code does."""

import re
from collections.abc import Callable
from pathlib import Path

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.errors import HTTP_ERRORS
from keyturn.delivery.http.routes_keys import PublishedKeys
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.testing.in_memory import InMemoryKeyturn

PAGE = (Path(__file__).parents[3] / "docs" / "http-api.md").read_text(encoding="utf-8")
UNTOLD = {
    "error",
    "stale_user",
    "stale_family",
    "stale_one_time_token",
    "mail_unavailable",
    "letter_unwritable",
    "mail_refused",
    "stale_role",
    "password_hash_unknown",
    "mail_not_found",
}
"""The base class's code, what never leaves a use-case, and what only the command line is told."""


def test_the_page_lists_every_route(
    keyturn: InMemoryKeyturn, services: Callable[..., Services], no_keys: PublishedKeys
) -> None:
    paths = build_app(services(keyturn), HttpOptions(), published_keys=no_keys).openapi()["paths"]
    assert isinstance(paths, dict)
    served = {(method.upper(), path) for path, item in paths.items() for method in item}
    assert set(re.findall(r"^\| `([A-Z]+) (\S+)` \|", PAGE, re.MULTILINE)) == served


def test_the_page_lists_every_code_with_its_status() -> None:
    problems = PAGE.partition("## Errors")[2]
    listed = set(re.findall(r"^\| (\d+) \| `([a-z_]+)` \|", problems, re.MULTILINE))
    told = {
        (str(told.status), error.code)
        for error, told in HTTP_ERRORS.items()
        if error.code not in UNTOLD
    }
    of_oauth = {
        ("400", "invalid_request"),
        ("400", "unsupported_grant_type"),
        ("403", "token_of_another_client"),
    }
    assert listed == told - of_oauth


def test_the_page_lists_every_oauth_error_with_its_status() -> None:
    oauth = PAGE.partition("## OAuth 2")[2].partition("## Errors")[0]
    listed = set(re.findall(r"^\| (\d+) \| `([a-z_]+)` \|", oauth, re.MULTILINE))
    told = {(str(told.oauth.status), told.oauth.error) for told in HTTP_ERRORS.values()}
    of_http_itself = {
        ("404", "invalid_request"),
        ("405", "invalid_request"),
        ("413", "invalid_request"),
    }
    assert listed == told - of_http_itself
