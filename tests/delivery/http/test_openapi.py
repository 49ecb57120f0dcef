"""What OpenAPI says: complete, and true to the routes."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Route

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.testing.in_memory import InMemoryKeyturn

Json = dict[str, Any]
"""A document that is only walked through."""

METHODS = ("get", "post", "put", "patch", "delete")
OPEN_ROUTES = {
    "register",
    "login",
    "refresh",
    "request_email_verification",
    "request_password_reset",
    "reset_password",
    "estimate_password",
    "server_metadata",
    "live",
    "ready",
}
OTHER_SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "confirm_email": [{"AccessToken": []}, {}],
    "logout": [{"AccessToken": []}, {}],
    "issue_tokens": [{"Client": []}, {}],
    "revoke_token": [{"Client": []}, {}],
    "introspect_token": [{"Client": []}],
    "follow_revocations": [{"Client": []}],
}


@pytest.fixture(scope="module")
def document() -> Json:
    keyturn = InMemoryKeyturn()
    names = (field.name for field in fields(Services) if field.name != "readiness")
    services = Services(**{name: getattr(keyturn, name) for name in names})
    document: Json = json.loads(json.dumps(build_app(services, HttpOptions()).openapi()))
    return document


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for each in part.values():
            yield from references(each)
    if isinstance(part, list):
        for each in part:
            yield from references(each)


def test_every_route_is_described_but_the_pages(
    document: Json, keyturn: InMemoryKeyturn, services: Callable[..., Services]
) -> None:
    app = build_app(services(keyturn), HttpOptions())
    routes = {
        (method.lower(), route.path)
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute)
        for method in route.methods or ()
    }
    pages = {
        ("get", path)
        for path in (
            *("/docs", "/docs/{name}"),
            *("/account/verify-email", "/account/reset-password", "/account/assets/{name}"),
        )
    }
    assert routes - pages == {(method, path) for method, path, _ in operations(document)}


def test_no_route_is_analysed_a_second_time_at_the_first_request(
    keyturn: InMemoryKeyturn, services: Callable[..., Services]
) -> None:
    app = build_app(services(keyturn), HttpOptions())
    assert [route for route in app.routes if not isinstance(route, Route)] == []


def test_every_operation_says_what_it_does(document: Json) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for _, path, operation in operations(document):
        assert operation["summary"][0].isupper(), path
        assert len(operation["description"]) > 20, path
        assert set(operation["tags"]) <= tags, path


def test_operation_ids_are_names_that_a_generated_client_can_use(document: Json) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", each) for each in ids)


def test_every_body_and_every_answer_has_an_example(document: Json) -> None:
    schemas = document["components"]["schemas"]
    for _, path, operation in operations(document):
        contents = [answer.get("content", {}) for answer in operation["responses"].values()]
        contents.append(operation.get("requestBody", {}).get("content", {}))
        for content in contents:
            for media_type in content.values():
                schema = media_type["schema"]
                for part in schema.get("anyOf", [schema]):
                    name = str(part.get("$ref", "")).rpartition("/")[2]
                    known = schemas.get(name, {})
                    if part.get("type") == "null" or name == "SessionList":
                        continue
                    assert "examples" in media_type or "examples" in known, (path, name)
        for parameter in operation.get("parameters", ()):
            assert "example" in parameter or "examples" in parameter["schema"], (path, parameter)
            assert parameter["description"], path


def test_every_failure_is_a_problem_or_an_oauth_error(document: Json) -> None:
    for _, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                continue
            is_oauth = path.startswith("/oauth/")
            media_type = "application/json" if is_oauth else "application/problem+json"
            model = "OAuthProblem" if is_oauth else "Problem"
            assert list(answer["content"]) == [media_type], (path, status)
            content = answer["content"][media_type]
            assert content["schema"] == {"$ref": f"#/components/schemas/{model}"}
            assert content["examples"]
            if status == "401":
                assert "WWW-Authenticate" in answer["headers"]
            if status in {"429", "503"}:
                assert "Retry-After" in answer["headers"]


def test_every_route_that_needs_a_token_says_so(document: Json) -> None:
    for _, _, operation in operations(document):
        if operation["operationId"] in OPEN_ROUTES:
            assert "security" not in operation
        elif operation["operationId"] in OTHER_SECURITY:
            assert operation["security"] == OTHER_SECURITY[operation["operationId"]]
        else:
            assert operation["security"] == [{"AccessToken": []}]
            assert "401" in operation["responses"]


def test_every_route_with_a_body_says_what_can_be_wrong_with_it(document: Json) -> None:
    for _, path, operation in operations(document):
        if "requestBody" in operation and not path.startswith("/oauth/"):
            assert {"400", "413", "415", "422"} <= set(operation["responses"]), path


def test_swagger_can_log_in_through_the_token_endpoint(document: Json) -> None:
    scheme = document["components"]["securitySchemes"]["AccessToken"]
    assert scheme["type"] == "oauth2"
    assert scheme["flows"]["password"]["tokenUrl"] == "/oauth/token"


def test_every_reference_leads_somewhere(document: Json) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known


def test_passwords_and_tokens_on_their_way_in_are_marked_as_such(document: Json) -> None:
    schemas = document["components"]["schemas"]
    for name, field in (
        ("Login", "password"),
        ("Registration", "password"),
        ("PasswordChange", "current_password"),
        ("PasswordChange", "new_password"),
        ("EmailConfirmation", "token"),
        ("EmailConfirmation", "password"),
        ("EmailConfirmation", "new_password"),
        ("PasswordReset", "token"),
        ("PasswordReset", "new_password"),
        ("PasswordIdea", "password"),
        ("EmailChange", "current_password"),
    ):
        described = schemas[name]["properties"][field]
        # One that may be left out is also null.
        assert described.get("anyOf", [described])[0]["format"] == "password"


async def test_the_document_is_served(client: httpx.AsyncClient) -> None:
    answer = await client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json()["openapi"].startswith("3.1")
