"""Shows that the tests of the standards table fail when the enforcement is taken out of the code.

`python -m tests.attacks.enforcement` copies the project, removes one enforcement after the other
as `enforcement.toml` describes them, and runs the named tests: each must fail. It prints one line
for each and exits with 1 if a test passed without its enforcement.
"""

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
_TESTS_FAILED = 1


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
class Removal:
    """One enforcement that is taken out of the code.

    Attributes:
        items: the rows that rest on it.
        file: where it is, from the project's folder.
        find: the text that enforces it; it occurs once in the file.
        replace: the text without the enforcement.
        test: the node id of a test that must fail then.
    """

    items: tuple[str, ...]
    file: str
    find: str
    replace: str
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
        yield Removal(
            tuple(entry["items"]), entry["file"], entry["find"], entry["replace"], entry["test"]
        )


def _fails_without(removal: Removal, copy: Path) -> bool:
    """Return whether the test fails in a copy of the project without the enforcement."""
    file = copy / removal.file
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(removal.find, removal.replace), encoding="utf-8")
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", removal.test],
            cwd=copy,
            capture_output=True,
            check=False,
        )
    finally:
        file.write_text(text, encoding="utf-8")
    return run.returncode == _TESTS_FAILED


def main() -> int:
    """Take out each enforcement and return the exit status; arguments limit it to some items."""
    wanted = set(sys.argv[1:])
    chosen = [one for one in removals() if not wanted or wanted & set(one.items)]
    with TemporaryDirectory() as folder, ThreadPoolExecutor(_COPIES) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(_COPIES):
            copies.put(copytree(PROJECT, Path(folder) / str(number), ignore=_NOT_COPIED))

        def fails(removal: Removal) -> bool:
            copy = copies.get()
            try:
                return _fails_without(removal, copy)
            finally:
                copies.put(copy)

        outcomes = list(zip(chosen, pool.map(fails, chosen), strict=True))
    for removal, failed in outcomes:
        verdict = "fails without it" if failed else "PASSES WITHOUT IT"
        print(f"{verdict}: {removal.test} ({removal.file}; {', '.join(removal.items)})")
    passed = sum(not failed for _, failed in outcomes)
    print(f"{len(outcomes) - passed} passed, {passed} failed")
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
