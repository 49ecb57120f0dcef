"""What was measured, round by round, kept as it comes in, and what follows from it."""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FORMAT = 1
_LIBRARIES = (
    *("argon2-cffi", "asyncpg", "cryptography", "fastapi", "httptools", "pydantic", "pyjwt"),
    *("sqlalchemy", "starlette", "uvicorn", "uvloop", "aiosqlite"),
)
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, with the least and the most."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(values: list[float]) -> "Spread | None":
        """Return the spread of the values, None if there are none."""
        if not values:
            return None
        return Spread(statistics.median(values), min(values), max(values))


@dataclass(slots=True)
class Results:
    """Every round of everything, as it comes in."""

    kind: str = "subset"
    file: Path | None = None
    rows: list[Row] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    machine: Row = field(default_factory=dict)
    versions: Row = field(default_factory=dict)
    made: Row = field(default_factory=dict)

    def add(self, work: str, level: int, subject: str, number: int, row: Row) -> None:
        """Keep a round."""
        self.rows.append(_key(work, level, subject, number) | row)
        self.save()

    def fail(self, work: str, level: int, subject: str, number: int, reason: str) -> None:
        """Keep that a round came to nothing."""
        self.failures.append(_key(work, level, subject, number) | {"reason": reason})
        self.save()

    def leave_out(self, subject: str, reason: str) -> None:
        """Keep that a subject is not measured."""
        self.left_out[subject] = reason
        self.save()

    def subjects(self, work: str, level: int) -> list[str]:
        """Return who was measured at this, in the order of the rounds."""
        return list(dict.fromkeys(row["subject"] for row in self._of(work, level)))

    def values(self, work: str, level: int, subject: str, figure: str) -> dict[int, float]:
        """Return a figure of each round that has it."""
        return {
            row["round"]: row[figure]
            for row in self._of(work, level)
            if row["subject"] == subject and row.get(figure) is not None
        }

    def spread(self, work: str, level: int, subject: str, figure: str = "rate") -> Spread | None:
        """Return the median of a figure."""
        return Spread.of(list(self.values(work, level, subject, figure).values()))

    def ratio(
        self, work: str, level: int, subject: str, other: str, figure: str = "rate"
    ) -> Spread | None:
        """Return how much of another's figure a subject reaches, compared round by round."""
        mine = self.values(work, level, subject, figure)
        theirs = self.values(work, level, other, figure)
        return Spread.of([mine[r] / theirs[r] for r in sorted(mine.keys() & theirs.keys())])

    def save(self) -> None:
        """Write everything to the file, if there is one: one round a line."""
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        head = {
            "format": FORMAT,
            "made": self.made | {"kind": self.kind},
            "machine": self.machine,
            "versions": self.versions,
            "left_out": self.left_out,
        }
        lines = [json.dumps(head, indent=1)[:-2] + ","]
        for name, rows in (("failures", self.failures), ("rounds", self.rows)):
            written = ",\n  ".join(json.dumps(row) for row in rows)
            lines.append(f' "{name}": [' + (f"\n  {written}\n ]" if rows else "]"))
            lines[-1] += "," if name == "failures" else ""
        temporary = self.file.with_suffix(".new")
        temporary.write_text("\n".join([*lines, "}\n"]))
        temporary.replace(self.file)

    @staticmethod
    def load(file: Path) -> "Results":
        """Return what a file holds.

        Raises:
            ValueError: it is in another format.
        """
        content = json.loads(file.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"{file}: its format is not {FORMAT}")
        made = dict(content["made"])
        return Results(
            kind=made.pop("kind"),
            rows=content["rounds"],
            failures=content["failures"],
            left_out=content["left_out"],
            machine=content["machine"],
            versions=content["versions"],
            made=made,
        )

    def _of(self, work: str, level: int) -> list[Row]:
        return [row for row in self.rows if row["work"] == work and row["level"] == level]


def _key(work: str, level: int, subject: str, number: int) -> Row:
    return {"work": work, "level": level, "subject": subject, "round": number}


def describe_machine(folder: Path) -> Row:
    """Return what the measurements were made on."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 1024**3, 1),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(folder),
    }


def describe_versions() -> Row:
    """Return what keyturn and the limits run on; the peers' locks say what they run on."""
    # With who built it and how: without optimisation the same version is slower.
    found: Row = {"python": " ".join(sys.version.split())}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    node = shutil.which("node")
    if node is not None:
        found["node"] = _said([node, "--version"]).lstrip("v")
    return found


def describe_run() -> Row:
    """Return when this is, and of which state of the project."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _said(["git", "-C", str(_ROOT), "rev-parse", "HEAD"]) or None,
        "changed": bool(_said(["git", "-C", str(_ROOT), "status", "--porcelain", "--", "src"])),
    }


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _file_system(folder: Path) -> str:
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split()
        if folder.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]
