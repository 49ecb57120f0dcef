"""What an operator does with resources."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from keyturn.main import build_container
from keyturn.settings import Settings, SettingsError

NOTES = "https://notes.example"


class Ended(Protocol):
    code: object
    out: str
    err: str


Run = Callable[..., Ended]


def test_resources_are_declared_listed_and_withdrawn(keyturn: Run, tmp_path: Path) -> None:
    assert keyturn("resources", "list").out == "No resource.\n"
    for uri in (NOTES, "urn:example:photos"):
        assert keyturn("resources", "add", uri).code == 0
    assert keyturn("resources", "list").out.splitlines() == [NOTES, "urn:example:photos"]
    assert json.loads(keyturn("resources", "list", "--json").out) == [NOTES, "urn:example:photos"]
    file = tmp_path / "data" / "resources.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keyturn("resources", "remove", NOTES).code == 0
    assert keyturn("resources", "list").out == "urn:example:photos\n"


@pytest.mark.parametrize(
    "uri",
    [
        "notes",
        "/notes",
        "https://notes.example#top",
        "https://notes.example/a b",
        "https://",
        "https://auth.example.com",
        "HTTPS://AUTH.example.com/",
        "https://default.example",
        "https://Default.example/",
        "https://" + "x" * 250,
    ],
)
def test_what_is_no_resource_or_looks_like_the_issuer_is_not_declared(
    keyturn: Run, tmp_path: Path, environment: pytest.MonkeyPatch, uri: str
) -> None:
    environment.setenv("KEYTURN_ISSUER", "https://auth.example.com")
    environment.setenv("KEYTURN_AUDIENCE", "https://default.example")
    refused = keyturn("resources", "add", uri)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "data" / "resources.toml").exists()


def test_a_resource_is_declared_once(keyturn: Run) -> None:
    keyturn("resources", "add", NOTES)
    for uri in (NOTES, NOTES + "/", "https://NOTES.example"):
        assert "declared already" in keyturn("resources", "add", uri).err
    assert "there is no resource" in keyturn("resources", "remove", NOTES + "/").err


def test_a_client_is_told_what_it_may_ask_for_and_see(keyturn: Run) -> None:
    keyturn("clients", "add", "notes", "--introspect", "--audience", NOTES)
    keyturn("clients", "add", "app", "--public", "--resource", NOTES, "--resource", "urn:a:b")
    app, notes = json.loads(keyturn("clients", "list", "--json").out)[::-1]
    assert (notes["audience"], notes["resources"]) == (NOTES, [])
    assert (app["audience"], app["resources"]) == (None, [NOTES, "urn:a:b"])


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        ({"issuer": "https://a.example"}, "KEYTURN_RESOURCES_FILE: https://a.example/ is the iss"),
        ({"audience": "https://A.example"}, "https://a.example/ is the default audience"),
    ],
)
def test_a_declared_resource_that_looks_like_another_name_stops_the_start(
    tmp_path: Path, chosen: dict[str, str], problem: str
) -> None:
    (tmp_path / "resources.toml").write_text('[resources."https://a.example/"]\n')
    with pytest.raises(SettingsError, match=problem):
        build_container(Settings(data_dir=tmp_path, **chosen))  # type: ignore[arg-type]  # texts


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    missing = Settings(data_dir=tmp_path, resources_file=tmp_path / "missing.toml")
    with pytest.raises(SettingsError, match=r"KEYTURN_RESOURCES_FILE: .* keyturn resources add"):
        build_container(missing)


def test_a_mounted_service_must_not_have_its_issuer_as_audience(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, audience="http://127.0.0.1:8000/auth")
    # As `mount` does for an issuer that nobody chose; no validation runs for it.
    settings = settings.model_copy(update={"issuer": "http://127.0.0.1:8000/auth"})
    with pytest.raises(SettingsError, match="must differ from the issuer"):
        build_container(settings)


def test_doctor_finds_a_client_that_names_an_undeclared_resource(keyturn: Run) -> None:
    assert "0 declared" in keyturn("doctor").out
    keyturn("resources", "add", NOTES)
    keyturn("clients", "add", "app", "--public", "--resource", NOTES)
    assert "1 declared" in keyturn("doctor").out
    keyturn("clients", "add", "other", "--introspect", "--audience", "https://other.example")
    assert "the client other names https://other.example" in keyturn("doctor").out


def test_doctor_finds_a_resource_that_stops_the_start(keyturn: Run, tmp_path: Path) -> None:
    keyturn("resources", "add", NOTES)
    (tmp_path / "data" / "resources.toml").write_text("[resources.notes]")
    assert "an absolute URI" in keyturn("doctor").out
