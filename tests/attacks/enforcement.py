"""Shows that the tests of the standards table fail when the enforcement is taken out of the code.

`python -m tests.attacks.enforcement` copies the project, removes one enforcement after the other
as `enforcement.toml` describes them, and runs the named tests: each must fail. It prints one line
for each and exits with 1 if a test passed without its enforcement, or failed for another reason.
"""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "security.md"
REMOVALS = Path(__file__).with_name("enforcement.toml")

_NOT_COPIED = ignore_patterns(".git", ".venv", "__pycache__", "node_modules", ".*_cache", "data")
_TEST = re.compile(r"`(tests/[^`]+)`")
_COPIES = 2
_PYTEST = (sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=line", "-p", "no:cacheprovider")
_FAILURE = re.compile(r"^FAILED (?:.*? - )?(.*)", re.MULTILINE)
# What is raised where a removal broke the code instead of taking something out of it.
_BROKEN = re.compile(r"(?:Name|UnboundLocal|Attribute|Import|ModuleNotFound|Syntax|Type)Error\b")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the standards table.

    Attributes:
        item: the standard and its item, such as `ASVS V7.2.4`.
        enforced: where the code enforces it, or why it is not met or does not apply.
        tests: the node ids of the tests that show it; empty where nothing is enforced.
    """

    item: str
    enforced: str
    tests: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """Whether the row says that the item is not met or does not apply."""
        return self.enforced.startswith(("not met, because ", "does not apply, because "))


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a file.

    Attributes:
        file: which, from the project's folder.
        find: the text that enforces something; it occurs once in the file.
        replace: the text without the enforcement.
    """

    file: str
    find: str
    replace: str


@dataclass(frozen=True, slots=True)
class Removal:
    """One enforcement that is taken out of the code.

    Attributes:
        items: the rows that rest on it.
        edits: what takes it out.
        test: the node id of a test that must fail then.
    """

    items: tuple[str, ...]
    edits: tuple[Edit, ...]
    test: str


def rows() -> Iterator[Row]:
    """Yield the rows of the tables below the heading `Standards`, in their order."""
    _, _, standards = PAGE.read_text(encoding="utf-8").partition("\n## Standards\n")
    standard = ""
    for line in standards.partition("\n## ")[0].splitlines():
        if line.startswith("### "):
            standard = line.removeprefix("### ")
        elif line.startswith("| ") and not line.startswith(("| item |", "| --- |")):
            item, _asked, enforced, shown = (cell.strip() for cell in line.strip("|").split(" | "))
            yield Row(f"{standard} {item}", enforced, tuple(_TEST.findall(shown)))


def removals() -> Iterator[Removal]:
    """Yield what can be taken out, in the order of the file."""
    for entry in tomllib.loads(REMOVALS.read_text(encoding="utf-8"))["removal"]:
        edits = [
            Edit(each["file"], each["find"], each["replace"])
            for each in (entry, *entry.get("also", ()))
        ]
        yield Removal(tuple(entry["items"]), tuple(edits), entry["test"])


def _run(copy: Path, *tests: str) -> tuple[int, str]:
    """Run tests in a copy of the project; return pytest's exit status and what it printed."""
    run = subprocess.run(
        [*_PYTEST, *tests],
        cwd=copy,
        # Wide enough for pytest to print why a test failed beside its name.
        env={
            **os.environ,
            "COLUMNS": "1000",
            "PYTHONPATH": str(copy / "src"),
            "PYTHONDONTWRITEBYTECODE": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout


def _verdict(removal: Removal, copy: Path, number: int) -> str:
    """Return an empty text if the test fails in the copy without the enforcement, else why not."""
    before = {edit.file: (copy / edit.file).read_text(encoding="utf-8") for edit in removal.edits}
    try:
        for edit in removal.edits:
            file = copy / edit.file
            text = file.read_text(encoding="utf-8").replace(edit.find, edit.replace)
            file.write_text(text, encoding="utf-8")
            # What was compiled before is recognised by size and second: no two removals share one.
            os.utime(file, (number, number))
        _, printed = _run(copy, "-x", removal.test)
    finally:
        for name, text in before.items():
            (copy / name).write_text(text, encoding="utf-8")
    failure = _FAILURE.search(printed)
    if failure is None:
        return "PASSES WITHOUT IT" if " passed" in printed else f"DOES NOT RUN: {printed[-300:]}"
    return f"BREAKS: {failure[1]}" if _BROKEN.match(failure[1]) else ""


def main() -> int:
    """Take out each enforcement and return the exit status.

    Arguments limit it to the rows that they name, such as `V7.2.1` or `"RFC 8725"`.
    """
    wanted = sys.argv[1:] or [""]
    chosen = [
        one for one in removals() if any(name in item for name in wanted for item in one.items)
    ]
    with TemporaryDirectory() as folder, ThreadPoolExecutor(_COPIES) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(_COPIES):
            copies.put(copytree(PROJECT, Path(folder) / str(number), ignore=_NOT_COPIED))

        def unchanged(tests: list[str]) -> tuple[int, str]:
            copy = copies.get()
            try:
                return _run(copy, *tests)
            finally:
                copies.put(copy)

        def verdict(numbered: tuple[int, Removal]) -> str:
            copy = copies.get()
            try:
                return _verdict(numbered[1], copy, numbered[0])
            finally:
                copies.put(copy)

        tests = sorted({one.test for one in chosen})
        halves = [half for half in (tests[::2], tests[1::2]) if half]
        for status, printed in pool.map(unchanged, halves):
            if status:
                print(f"with every enforcement in place:\n{printed}")
                return 1
        verdicts = list(pool.map(verdict, enumerate(chosen, start=1)))
    for removal, told in zip(chosen, verdicts, strict=True):
        files = ", ".join(edit.file for edit in removal.edits)
        items = ", ".join(removal.items)
        print(f"{told or 'fails without it'}: {removal.test} ({files}; {items})")
    wrong = sum(map(bool, verdicts))
    print(f"{len(chosen)} enforcements taken out, {len(chosen) - wrong} noticed, {wrong} not")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
