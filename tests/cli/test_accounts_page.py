"""What the page about accounts shows is what happens."""

import os
import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "accounts.md").read_text(encoding="utf-8")


def test_the_session_on_the_page_says_what_it_is_said_to_say(
    environment: pytest.MonkeyPatch,
    serving: Callable[..., AbstractContextManager[str]],
    tmp_path: Path,
) -> None:
    session = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
    with serving() as banner:
        address = re.search(r"http://127\.0\.0\.1:\d+", banner)
        assert address is not None
        here = session.replace("http://127.0.0.1:8000", address[0])
        said = subprocess.run(
            ["sh", "-eu", "-c", here.replace("keyturn.log", "stdout.txt")],
            cwd=tmp_path,
            env=os.environ | {"no_proxy": "*"},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
    assert said.returncode == 0, said.stderr + said.stdout
    expected = re.findall(r"\S +# (.+)$", session, re.MULTILINE)
    assert len(expected) == 24
    assert said.stdout.splitlines() == expected
