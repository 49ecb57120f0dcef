"""Measures keyturn beside its peers and the limits, in one run.

    python -m benchmarks.run [--quick] [--only WORK,...] [--peers NAME,...] [--levels N,...]
                             [--rounds N] [--seconds S] [--output FOLDER]

`README.md` beside this file says what there is to choose from.
"""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.installing import CACHE
from benchmarks.processes import ROOT, DidNotWork, Stage, execute
from benchmarks.results import Results, Spread, describe_machine, describe_run, describe_versions
from benchmarks.subjects import SUBJECTS
from benchmarks.targets import print_targets
from benchmarks.works import QUICK_SUBJECTS, WORKS, Company, Work

FULL_OUTPUT = ROOT / "docs" / "benchmarks"
QUICK_OUTPUT = CACHE / "quick"


@dataclass(frozen=True, slots=True)
class Choice:
    """What is measured, and how long.

    Args:
        works: what, and at which levels.
        peers: who.
        rounds: of each.
        seconds: of a round.
    """

    works: Sequence[tuple[Work, Sequence[int]]]
    peers: frozenset[str]
    rounds: int
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments ask for; return 1 if something failed, 130 if interrupted."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    choice = _choose(given)
    is_subset = given.only is not None or given.peers is not None or given.levels is not None
    kind = "subset" if is_subset else "quick" if given.quick else "full"
    output: Path | None = given.output
    if output is None and kind != "subset":
        output = QUICK_OUTPUT if given.quick else FULL_OUTPUT
    results = Results(kind=kind, file=None if output is None else output / "results.json")
    began = time.monotonic()
    with Stage() as stage:
        results.made = describe_run()
        results.machine = describe_machine(stage.folder)
        results.versions = describe_versions()
        try:
            run(choice, Company(stage), results)
        except KeyboardInterrupt:
            print("\nInterrupted; what was measured is kept.")
            results.made["interrupted"] = True
        if stage.postmaster is not None:
            [[told]] = execute(stage.postgres_database("asked"), "SHOW server_version")
            results.versions["postgresql"] = told
    results.made["seconds"] = round(time.monotonic() - began)
    results.save()
    print()
    print_targets(results)
    if output is not None:
        _draw(output, results)
    if results.failures:
        print(f"{len(results.failures)} rounds failed.")
    if results.made.get("interrupted"):
        return 130
    return 1 if results.failures else 0


def run(choice: Choice, company: Company, results: Results) -> None:
    """Measure everything that was chosen, one work after the other."""
    began = time.monotonic()
    for number, (work, levels) in enumerate(choice.works, 1):
        names = [name for name in work.subjects if name in choice.peers]
        if not names:
            continue
        passed = (time.monotonic() - began) / 60
        print(f"\n[{number}/{len(choice.works)}, {passed:.0f} min] {work.title}", flush=True)
        names = [name for name in names if _is_up(name, company, results)]
        for level in levels:
            for round_number in range(1, choice.rounds + 1):
                for name in names:
                    _measure(work, level, name, round_number, company, choice.seconds, results)
            print_summary(results, work, level)
        if work.alone:
            for name in names:
                company.dismiss(name)


def print_summary(results: Results, work: Work, level: int) -> None:
    """Print the medians of a work at a level, and their ratios."""
    if len(work.levels) > 1 or level > 1:
        print(f" {level} {work.level if level != 1 else work.level.removesuffix('s')}")
    names = results.subjects(work.name, level)
    compared_to = work.compared_to if work.compared_to in names else next(iter(names), None)
    for name in names:
        spread = results.spread(work.name, level, name, work.figure)
        if spread is None or compared_to is None:
            continue
        line = f"  {name:24} {_shown(spread):>30} {work.unit:8}"
        ratio = results.ratio(work.name, level, name, compared_to, work.figure)
        if ratio is not None and len(names) > 1:
            line += f" × {ratio.median:.3f} ({ratio.least:.3f} to {ratio.most:.3f})"
        p99 = results.spread(work.name, level, name, "p99_ms")
        if p99 is not None and work.figure != "p99_ms":
            line += f"  p99 {p99.median:.2f} ms"
        cores = [
            f"{part} {used.median:.2f}"
            for part in ("server", "database", "load")
            if (used := results.spread(work.name, level, name, f"{part}_cores")) is not None
        ]
        if cores:
            line += f"  cores: {', '.join(cores)}"
        print(line, flush=True)


def _shown(spread: Spread) -> str:
    digits = 0 if spread.median >= 100 else 2
    return f"{spread.median:.{digits}f} ({spread.least:.{digits}f} to {spread.most:.{digits}f})"


def _is_up(name: str, company: Company, results: Results) -> bool:
    if name in results.left_out:
        return False
    began = time.monotonic()
    try:
        company.get(name)
    except KeyboardInterrupt:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are measured
        reason = _reason(error)
        results.leave_out(name, reason)
        print(f"  left out: {name}: {reason}")
        return False
    if (took := time.monotonic() - began) > 1:
        print(f"  {name} is up after {took:.0f} s", flush=True)
    return True


def _measure(
    work: Work,
    level: int,
    name: str,
    round_number: int,
    company: Company,
    seconds: float,
    results: Results,
) -> None:
    if sys.stdout.isatty():
        print(f"  {level} {work.level}, round {round_number}: {name:24}", end="\r", flush=True)
    try:
        running = company.get(name)
        row = work.round(company, running, level, seconds * work.seconds)
    except KeyboardInterrupt:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are measured
        reason = _reason(error)
        results.fail(work.name, level, name, round_number, reason)
        print(f"  failed: {name}, round {round_number}: {reason}", flush=True)
        # A chain whose last answer was lost has no next token: the next round gets a fresh one.
        company.dismiss(name)
        return
    results.add(work.name, level, name, round_number, row)


def _reason(error: Exception) -> str:
    told = str(error)
    if not isinstance(error, DidNotWork):
        told = "".join(traceback.format_exception(error))[-1000:]
    return told.replace(f"{ROOT}/", "")


def _draw(output: Path, results: Results) -> None:
    from benchmarks.report import write_report  # noqa: PLC0415 - what only measures needs no plots

    try:
        from benchmarks.plots import draw_all  # noqa: PLC0415
    except ImportError as error:
        print(f"Without plots: {error}")
    else:
        draw_all(results, output)
    write_report(results, output / "README.md")
    print(f"\nWritten to {output}")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _choose(given: argparse.Namespace) -> Choice:
    works = []
    for work in WORKS:
        levels = work.quick if given.quick else work.levels
        if given.only is not None:
            levels = work.levels if work.name in given.only else ()
        if given.levels is not None:
            levels = [level for level in work.levels if level in given.levels and levels]
        if levels:
            works.append((work, levels))
    peers = given.peers or (QUICK_SUBJECTS if given.quick else SUBJECTS)
    rounds = given.rounds or (3 if given.quick else 5)
    seconds = given.seconds or (1.5 if given.quick else 2.5)
    return Choice(works, frozenset(peers), rounds, seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("--quick", action="store_true", help="the limits and one peer, shortly")
    parser.add_argument("--only", type=_names({work.name for work in WORKS}), metavar="WORK,...")
    parser.add_argument("--peers", type=_names(set(SUBJECTS)), metavar="NAME,...")
    parser.add_argument("--levels", type=_numbers, metavar="N,...", help="such as connections")
    parser.add_argument("--rounds", type=int, metavar="N")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each round")
    parser.add_argument("--output", type=Path, metavar="FOLDER")
    return parser


def _names(known: set[str]) -> Callable[[str], set[str]]:
    def read(text: str) -> set[str]:
        names = {name.strip() for name in text.split(",")}
        if unknown := names - known:
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
            )
        return names

    return read


def _numbers(text: str) -> set[int]:
    return {int(number) for number in text.split(",")}


if __name__ == "__main__":
    sys.exit(main())
