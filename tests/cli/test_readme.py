"""What the README shows is what happens."""

import asyncio
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_session_on_the_first_screen_says_what_it_is_said_to_say(served: str) -> None:
    session = blocks("sh")[1]
    address = re.search(r"http://127\.0\.0\.1:\d+", served)
    assert address is not None
    said = subprocess.run(
        ["sh", "-eu", "-c", session.replace("http://127.0.0.1:8000", address[0])],
        env=os.environ | {"no_proxy": "*"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = re.findall(r"# (\w+)$", session, re.MULTILINE)
    assert len(expected) == 4
    assert said.stdout.split()[1:] == expected


def test_the_unit_test_that_it_shows_passes() -> None:
    (shown,) = (block for block in blocks("python") if "async def test_" in block)
    names: dict[str, object] = {}
    exec(shown, names)  # noqa: S102 - the README is ours
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    assert callable(test)
    asyncio.run(test())


def test_every_page_that_it_names_is_there() -> None:
    linked = re.findall(r"\]\(([^)h][^)]*)\)", README)
    assert linked
    assert [page for page in linked if not (ROOT / page).exists()] == []
