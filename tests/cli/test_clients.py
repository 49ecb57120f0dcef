"""What an operator does with OAuth clients."""

import json
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from keyturn.main import create_app
from keyturn.settings import Settings, SettingsError


class Ended(Protocol):
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


def test_a_secret_is_printed_once_and_alone(keyturn: Run, tmp_path: Path) -> None:
    added = keyturn("clients", "add", "notes", "--introspect", "--revocations")
    assert added.code == 0
    [secret] = added.out.splitlines()
    assert len(secret) >= 43
    assert "notes" in added.err
    assert secret not in added.err
    file = tmp_path / "data" / "clients.toml"
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_clients_are_listed_and_removed(keyturn: Run) -> None:
    assert keyturn("clients", "list").out == "No client.\n"
    keyturn("clients", "add", "notes", "--introspect", "--revocations")
    keyturn("clients", "add", "app")
    assert keyturn("clients", "add", "mobile", "--public").out == ""
    assert keyturn("clients", "list").out.splitlines() == [
        "notes: introspect, revocations",
        "app: confidential",
        "mobile: public",
    ]
    assert json.loads(keyturn("clients", "list", "--json").out)[0] == {
        "id": "notes",
        "public": False,
        "introspect": True,
        "revocations": True,
        "audience": None,
        "resources": [],
    }
    assert keyturn("clients", "remove", "notes").code == 0
    assert "notes" not in keyturn("clients", "list").out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("add", "two words"), "a client's id has"),
        (("add", "keyturn"), "is built in"),
        (("add", "mobile", "--public", "--introspect"), "without a secret"),
        (("remove", "nobody"), "there is no client nobody"),
    ],
)
def test_what_can_not_be_done_is_refused_in_one_line(
    arguments: tuple[str, ...], problem: str, keyturn: Run, tmp_path: Path
) -> None:
    refused = keyturn("clients", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert problem in refused.err
    assert len(refused.err.splitlines()) == 1
    assert not (tmp_path / "data" / "clients.toml").exists()


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("clients", "list")])
def test_a_bad_file_stops_the_start_with_one_line(
    command: tuple[str, ...], keyturn: Run, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "ours.toml"
    file.write_text("[clients.notes]\nsecret = 'hunter2'\n")
    file.chmod(0o600)
    environment.setenv("KEYTURN_CLIENTS_FILE", str(file))
    # One that nobody chose would be left in the environment, for the workers.
    environment.setenv("KEYTURN_ISSUER", "http://127.0.0.1:8000")
    refused = keyturn(*command)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"keyturn: KEYTURN_CLIENTS_FILE: {file}: the client notes")
    assert len(refused.err.splitlines()) == 1
    assert "hunter2" not in refused.err


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    missing = Settings(data_dir=tmp_path, clients_file=tmp_path / "missing.toml")
    with pytest.raises(SettingsError, match=r"KEYTURN_CLIENTS_FILE: .*there is no such file"):
        create_app(missing)


def test_a_client_that_was_added_introspects(
    keyturn: Run, serving: Callable[..., AbstractContextManager[str]]
) -> None:
    secret = keyturn("clients", "add", "notes", "--introspect").out.strip()
    with serving() as banner:
        url = banner.partition("keyturn is at ")[2].partition("\n")[0]
        asked = httpx.post(
            f"{url}/oauth/introspect", data={"token": "nonsense"}, auth=("notes", secret)
        )
    assert (asked.status_code, asked.json()) == (200, {"active": False})
