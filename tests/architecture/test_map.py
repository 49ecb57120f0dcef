"""The page that maps concepts to files names files that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_every_file_and_folder_on_the_map_exists() -> None:
    named = re.findall(r"`((?:\w+/)+\w+(?:\.py)?)`", PAGE)
    assert len(named) > 50
    places = (ROOT, ROOT / "src" / "keyturn")
    assert [name for name in named if not any((p / name).exists() for p in places)] == []


def test_every_room_of_the_house_is_on_the_map() -> None:
    house = PAGE.partition("```\n")[2].partition("```")[0]
    rooms = [
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "src" / "keyturn").iterdir()
        if not path.name.startswith(("__", "py.typed"))
    ]
    assert [room for room in rooms if f"  {room}" not in house] == []
