"""The service as it is run: real processes, real databases, a real client."""

import re
import shlex
import socket
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import httpx
import jwt
import pytest


class Ended(Protocol):
    code: int
    out: str
    err: str


Run = Callable[..., Ended]
Serve = Callable[..., AbstractContextManager[str]]

PERSON = {"email": "ada@example.com", "password": "a passphrase of my own"}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("database", ["embedded", "postgres"])
def test_somebody_registers_logs_in_refreshes_and_retries(
    database: str,
    workers: str,
    serving: Serve,
    environment: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if database == "postgres":
        environment.setenv("KEYTURN_DATABASE_URL", request.getfixturevalue("empty_postgres_url"))
    with serving("--workers", workers, "--migrate") as banner, client_of(banner) as client:
        assert client.post("/v1/auth/register", json=PERSON).status_code == 201
        login = client.post("/v1/auth/login", json=PERSON).json()
        old = {"refresh_token": login["refresh_token"]}
        rotated = client.post("/v1/auth/refresh", json=old).json()
        assert rotated["outcome"] == "rotated"
        # Connections of their own, so that every worker gets to answer some.
        for _ in range(8):
            with client_of(banner) as another:
                retried = another.post("/v1/auth/refresh", json=old).json()
                assert retried["outcome"] == "replayed"
                assert retried["refresh_token"] == rotated["refresh_token"]
                bearer = {"Authorization": f"Bearer {rotated['access_token']}"}
                assert another.get("/v1/auth/verify", headers=bearer).status_code == 204
        assert client.get("/health/ready").status_code == 200


def test_sessions_outlive_a_restart(serving: Serve, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KEYTURN_ISSUER", "http://127.0.0.1:8000")
    with serving() as banner, client_of(banner) as client:
        client.post("/v1/auth/register", json=PERSON)
        login = client.post("/v1/auth/login", json=PERSON).json()
    with serving() as banner, client_of(banner) as client:
        answer = client.post("/v1/auth/refresh", json={"refresh_token": login["refresh_token"]})
        assert answer.json()["outcome"] == "rotated"


def test_the_commands_that_it_prints_work(served: str) -> None:
    register, login = re.findall(r"curl .*(?:register|login)", served)
    for command in (register, login):
        curl, h, header, d, body, url = shlex.split(command)
        assert (curl, h, d) == ("curl", "-H", "-d")
        name, value = header.split(": ")
        answer = httpx.post(url, content=body, headers={name: value}, timeout=60)
        assert answer.is_success, answer.text


def test_what_it_keeps_is_its_owners_alone(served: str, served_folder: Path) -> None:
    data = served_folder / "data"
    with client_of(served) as client:
        client.post("/v1/auth/login", json=PERSON)
    kept = [data, *data.rglob("*")]
    assert {"keyturn.db", "keyturn.db-wal", "keys.json"} <= {path.name for path in kept}
    for path in kept:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_the_issuer_is_where_it_listens_unless_one_is_set(served: str) -> None:
    with client_of(served) as client:
        client.post("/v1/auth/register", json=PERSON)
        token = client.post("/v1/auth/login", json=PERSON).json()["access_token"]
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["iss"] == str(client.base_url)


def test_no_answer_names_the_server(served: str) -> None:
    with client_of(served) as client:
        assert "server" not in client.get("/health/live").headers


def test_a_password_of_a_mebibyte_is_refused_on_a_connection_that_goes_on(served: str) -> None:
    with client_of(served) as client:
        address = (client.base_url.host, client.base_url.port or 80)
    body = b'{"email": "ada@example.com", "password": "' + b"a" * 1024 * 1024 + b'"}'
    head = "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as answers:
            told = answers.read()
    assert re.findall(rb"HTTP/1.1 (\d+)", told) == [b"413", b"200"]


def test_the_page_to_try_it_is_where_it_says(served: str) -> None:
    with client_of(served) as client:
        assert f"{client.base_url}/docs" in served
        assert client.get("/docs").is_success


def test_the_fast_loop_and_parser_are_there_to_be_used() -> None:
    import uvloop
    from uvicorn.loops.auto import auto_loop_factory
    from uvicorn.protocols.http.auto import AutoHTTPProtocol
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    assert AutoHTTPProtocol is HttpToolsProtocol
    assert auto_loop_factory() is uvloop.new_event_loop


def test_a_database_that_is_not_migrated_stops_the_start(
    keyturn: Run, environment: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    environment.setenv("KEYTURN_DATABASE_URL", empty_database_url)
    refused = keyturn("serve", "--port", "0")
    assert refused.code == 2
    assert refused.err.endswith(": run keyturn migrate\n")
    assert len(refused.err.splitlines()) == 1


def test_a_database_that_does_not_answer_stops_the_start(
    keyturn: Run, environment: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environment.setenv("KEYTURN_DATABASE_URL", f"postgresql://u:hunter2@127.0.0.1:{port}/n")
    refused = keyturn("serve", "--port", "0")
    assert refused.code == 2
    assert refused.err.startswith("keyturn: the database: ")
    assert len(refused.err.splitlines()) == 1
    assert "hunter2" not in refused.err


def test_a_port_that_is_taken_stops_the_start(keyturn: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = keyturn("serve", "--port", str(port))
    assert refused.code == 2
    assert refused.err == f"keyturn: can't listen on 127.0.0.1:{port}: Address already in use\n"


def client_of(banner: str) -> httpx.Client:
    found = re.search(r"keyturn is at (http://\S+)", banner)
    assert found
    return httpx.Client(base_url=found[1], timeout=60)
