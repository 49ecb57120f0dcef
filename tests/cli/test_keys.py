"""How an operator rotates keys from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from keyturn.main import build_container, create_app
from keyturn.settings import Settings, SettingsError

Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def folder(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    environment.setenv("KEYTURN_DATA_DIR", str(tmp_path / "data"))
    build_container(Settings())
    return tmp_path / "data" / "keys"


def listed(keyturn: Run) -> list[dict[str, str]]:
    code, out, err = keyturn("keys", "list", "--json")
    assert (code, err) == (0, "")
    lines: list[dict[str, str]] = json.loads(out)
    return lines


@pytest.mark.usefixtures("folder")
def test_a_key_is_published_and_then_not_let_sign_too_early(keyturn: Run) -> None:
    (first,) = listed(keyturn)
    assert (first["state"], first["algorithm"]) == ("signing", "EdDSA")
    code, out, _ = keyturn("keys", "rotate")
    assert code == 0
    assert "is published (EdDSA) and signs next" in out
    code, out, err = keyturn("keys", "rotate")
    assert (code, out) == (2, "")
    assert err.startswith("keyturn: KEYTURN_KEYS_DIR: ")
    assert "must not sign before" in err
    assert [key["state"] for key in listed(keyturn)] == ["signing", "next"]


def test_in_an_emergency_one_key_takes_over_and_the_other_is_gone(
    keyturn: Run, folder: Path
) -> None:
    (stolen,) = listed(keyturn)
    code, out, _ = keyturn("keys", "rotate", "--now")
    assert code == 0
    assert "signs now" in out
    assert [key["state"] for key in listed(keyturn)] == ["signing", "retiring"]
    code, out, _ = keyturn("keys", "retire", stolen["kid"])
    assert code == 0
    assert "retires at" in out
    code, out, _ = keyturn("keys", "retire", stolen["kid"], "--now")
    assert code == 0
    assert "is gone" in out
    (left,) = listed(keyturn)
    assert [path.name for path in folder.glob("*.jwk")] == [left["file"]]


def test_the_service_starts_after_a_change_of_algorithm(
    keyturn: Run, environment: pytest.MonkeyPatch, folder: Path
) -> None:
    assert keyturn("keys", "generate", "--algorithm", "ES256")[0] == 0
    code, out, _ = keyturn("keys", "rotate", "--now")
    assert code == 0
    assert "let it say ES256" in out
    create_app(Settings())
    assert "KEYTURN_ALGORITHM" in keyturn("doctor")[1]
    environment.setenv("KEYTURN_ALGORITHM", "ES256")
    create_app(Settings())
    environment.setenv("KEYTURN_ALGORITHM", "RS256")
    with pytest.raises(SettingsError, match=f"{folder}: its signing key"):
        create_app(Settings())


def test_no_private_key_is_ever_printed(keyturn: Run, folder: Path) -> None:
    said = "".join(
        out + err
        for _, out, err in (
            keyturn("keys", "generate"),
            keyturn("keys", "list"),
            keyturn("keys", "rotate", "--now"),
            keyturn("keys", "list", "--json"),
        )
    )
    for file in folder.glob("*.jwk"):
        stored = json.loads(file.read_text())
        assert stored["kid"] in said
        assert stored["d"] not in said


@pytest.mark.usefixtures("folder")
def test_an_unknown_algorithm_or_key_is_refused(keyturn: Run) -> None:
    assert keyturn("keys", "generate", "--algorithm", "none")[0] == 2
    code, _, err = keyturn("keys", "retire", "unknown")
    assert code == 2
    assert "there is no key 'unknown'" in err


@pytest.mark.usefixtures("environment")
def test_without_a_folder_there_is_nothing_to_rotate(keyturn: Run, tmp_path: Path) -> None:
    for command in ("list", "generate", "rotate"):
        code, out, err = keyturn("keys", command)
        assert (code, out) == (2, "")
        assert "No such file or directory" in err
        assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
