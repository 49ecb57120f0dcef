"""The clients in a file: read strictly, changed without losing what an operator wrote."""

import hashlib
import stat
from pathlib import Path

import pytest

from keyturn.adapters.clients_file.clients import (
    ClientsFileError,
    FileClients,
    add_client,
    load_clients,
    remove_client,
)
from keyturn.domain.client import Client
from keyturn.domain.secret import Secret

DIGEST = hashlib.sha256(b"a secret").hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "clients.toml"


def written(file: Path, text: str, mode: int = 0o600) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


def add(
    file: Path, name: str = "notes", *, public: bool = False, introspects: bool = False
) -> Secret | None:
    return add_client(file, name, public=public, introspects=introspects, reads_revocations=False)


async def test_a_new_client_is_proven_by_its_secret_alone(file: Path) -> None:
    secret = add(file, introspects=True)
    assert secret is not None
    client = await FileClients(file, required=True).get("notes")
    assert client is not None
    assert client.is_proven_by(secret)
    assert not client.is_proven_by(Secret(f"{secret.reveal()}x"))
    assert not client.is_proven_by(Secret(""))
    assert not client.is_proven_by(None)
    assert (client.introspects, client.reads_revocations) == (True, False)


def test_a_secret_is_long_and_is_not_in_the_file(file: Path) -> None:
    secrets = [add(file, name) for name in ("one", "other")]
    assert len({secret.reveal() for secret in secrets if secret}) == 2
    for secret in secrets:
        assert secret is not None
        assert len(secret) >= 43
        assert secret.reveal() not in file.read_text()


def test_the_file_and_its_folder_are_their_owners_alone(file: Path) -> None:
    add(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


async def test_a_public_client_has_no_secret(file: Path) -> None:
    assert add(file, "mobile.app", public=True) is None
    client = await FileClients(file).get("mobile.app")
    assert client == Client("mobile.app")
    assert client.is_proven_by(None)
    assert not client.is_proven_by(Secret("anything"))


async def test_a_missing_file_holds_nobody_unless_it_must_be_there(file: Path) -> None:
    assert await FileClients(file).get("notes") is None
    with pytest.raises(ClientsFileError, match="keyturn clients add makes it"):
        FileClients(file, required=True)


def test_what_an_operator_wrote_stays(file: Path) -> None:
    text = f"""# ours

[clients.first]  # theirs
secret_sha256 = "{DIGEST}"

[ clients . "second.one" ]
# nothing more"""
    written(file, text)
    add(file, "third")
    assert file.read_text().startswith(text)
    assert set(load_clients(file)) == {"first", "second.one", "third"}
    remove_client(file, "second.one")
    remove_client(file, "third")
    assert file.read_text() == text.partition("[ clients")[0]


@pytest.mark.parametrize("text", ["clients.notes = {}\n", "[clients]\nnotes = {}\n"])
def test_what_can_not_be_removed_safely_is_left_alone(text: str, file: Path) -> None:
    written(file, text)
    with pytest.raises(ClientsFileError, match="only you can change"):
        remove_client(file, "notes")
    assert file.read_text() == text


def test_nobody_is_added_twice_or_removed_who_is_not_there(file: Path) -> None:
    add(file)
    before = file.read_text()
    with pytest.raises(ClientsFileError, match="already"):
        add(file)
    with pytest.raises(ClientsFileError, match="no client mobile"):
        remove_client(file, "mobile")
    assert file.read_text() == before


@pytest.mark.parametrize("name", ["", "two words", "a\nb", '"', "x" * 65, "-x", "ä", "keyturn"])
def test_a_name_that_no_client_can_have_is_refused(name: str, file: Path) -> None:
    with pytest.raises(ClientsFileError):
        add(file, name)
    assert not file.exists()


def test_a_public_client_can_not_introspect(file: Path) -> None:
    with pytest.raises(ClientsFileError, match="without a secret"):
        add(file, public=True, introspects=True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[clients.notes", "it is no TOML"),
        ("[" * 5000, "it is no TOML"),
        ("[clients.notes]\n[clients.notes]", "it is no TOML"),
        ("[client.notes]", "must hold tables such as"),
        ("clients = 1", "must hold tables such as"),
        ("[clients]\nnotes = 1", "must be a table"),
        ("[clients.notes]\nsecret = 'hunter2'", "has a field other than"),
        ("[clients.notes]\nsecret_sha256 = 'hunter2'", "is not a SHA-256"),
        (f"[clients.notes]\nsecret_sha256 = '{DIGEST.upper()}'", "is not a SHA-256"),
        ("[clients.notes]\nsecret_sha256 = 1", "must be a text"),
        (f"[clients.notes]\nsecret_sha256 = '{DIGEST}'\nintrospect = 1", "must be true or false"),
        ("[clients.notes]\nintrospect = true", "without a secret"),
        ("[clients.notes]\naudience = 1", "must be a text"),
        ("[clients.notes]\naudience = ''", "the audience is empty"),
        ("[clients.notes]\nresources = 'hunter2'", "must be a list of texts"),
        ("[clients.notes]\nresources = ['hunter2', 1]", "must be a list of texts"),
        ("[clients.notes]\nresources = ['hunter2']", "an absolute URI"),
        ("[clients.'two words']", "a client's id has"),
        ('[clients."a\\nb"]', "a client's id has"),
        (f"[clients.keyturn]\nsecret_sha256 = '{DIGEST}'", "is built in"),
    ],
)
def test_a_file_that_is_not_clear_is_refused_in_one_line(
    text: str, problem: str, file: Path
) -> None:
    written(file, text)
    with pytest.raises(ClientsFileError, match=problem) as caught:
        load_clients(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(mode: int, file: Path) -> None:
    with pytest.raises(ClientsFileError, match="others may write it"):
        load_clients(written(file, "", mode))


def test_a_file_that_others_may_read_is_good(file: Path) -> None:
    assert load_clients(written(file, "[clients.mobile]", 0o644)) == {"mobile": Client("mobile")}


def test_what_is_no_file_of_text_is_refused(file: Path) -> None:
    with pytest.raises(ClientsFileError, match="Is a directory"):
        load_clients(file.parent.parent)
    file.parent.mkdir()
    file.write_bytes(b"\xff")
    file.chmod(0o600)
    with pytest.raises(ClientsFileError, match="not UTF-8"):
        load_clients(file)
    file.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ClientsFileError, match="too large"):
        load_clients(file)
