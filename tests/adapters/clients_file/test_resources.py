"""The file of the declared resources."""

import stat
from pathlib import Path

import pytest

from keyturn.adapters.clients_file.resources import (
    ResourcesFileError,
    add_resource,
    load_resources,
    remove_resource,
)

NOTES, PHOTOS = "https://notes.example", "urn:example:photos"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "resources.toml"


def test_a_missing_file_holds_no_resource(file: Path) -> None:
    assert load_resources(file) == frozenset()
    with pytest.raises(ResourcesFileError, match="keyturn resources add makes it"):
        load_resources(file, required=True)


def test_what_is_added_is_there_for_the_owner_alone(file: Path) -> None:
    add_resource(file, NOTES)
    add_resource(file, PHOTOS)
    assert load_resources(file) == {NOTES, PHOTOS}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_what_else_is_in_the_file_stays(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(f"# Ours.\n[resources.'{NOTES}']\n# Theirs.")
    file.chmod(0o600)
    add_resource(file, PHOTOS)
    remove_resource(file, PHOTOS)
    assert file.read_text().startswith(f"# Ours.\n[resources.'{NOTES}']\n# Theirs.\n")
    remove_resource(file, NOTES)
    assert load_resources(file) == frozenset()


def test_what_was_written_in_another_way_is_left_to_the_operator(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(f'[resources]\n"{NOTES}" = {{}}\n')
    file.chmod(0o600)
    assert load_resources(file) == {NOTES}
    with pytest.raises(ResourcesFileError, match="only you can change"):
        remove_resource(file, NOTES)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[resources", "no TOML"),
        ("[clients.notes]", "tables such as"),
        ("x = 1\n", "tables such as"),
        ("resources = ['https://notes.example']", "tables such as"),
        ('[resources."https://notes.example"]\nx = 1\n', "must be an empty table"),
        ('[resources]\n"https://notes.example" = 1\n', "must be an empty table"),
        ("[resources.notes]\n", "an absolute URI"),
        ('[resources."https://notes.example#x"]\n', "an absolute URI"),
        ('[resources."a\\nb"]\n', "a\\?b"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(file: Path, content: str, problem: str) -> None:
    file.parent.mkdir()
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(ResourcesFileError, match=problem) as caught:
        load_resources(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(file: Path, mode: int) -> None:
    add_resource(file, NOTES)
    file.chmod(mode)
    for attempt in (
        lambda: load_resources(file),
        lambda: add_resource(file, PHOTOS),
        lambda: remove_resource(file, NOTES),
    ):
        with pytest.raises(ResourcesFileError, match="others may write it"):
            attempt()
