"""Measures keyturn beside its peers and the limits, in one run.

    python -m benchmarks.run [--quick] [--only WORK,...] [--peers NAME,...] [--connections N,...]
                             [--rounds N] [--seconds S] [--output FOLDER]

`README.md` beside this file says what there is to choose from.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.processes import DidNotWork, Stage
from benchmarks.results import Results
from benchmarks.subjects import SUBJECTS
from benchmarks.works import WORKS, Company, Depth, Work


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments ask for; return 1 if something of it failed."""
    chosen = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    depth = Depth(chosen.rounds or 5, chosen.seconds or 3.0)
    works = [w for w in WORKS if chosen.only is None or w.name in chosen.only]
    results = Results()
    with Stage() as stage:
        company = Company(stage)
        try:
            for work in works:
                run_work(work, company, depth, results, chosen.peers, chosen.connections)
        except KeyboardInterrupt:
            print("\nInterrupted; what was measured is kept.")
    return 1 if results.failures else 0


def run_work(
    work: Work,
    company: Company,
    depth: Depth,
    results: Results,
    peers: set[str] | None,
    connections: set[int] | None,
) -> None:
    """Measure all subjects of a work in turn, round after round."""
    names = [name for name in work.subjects if peers is None or name in peers]
    for name in list(names):
        try:
            began = time.monotonic()
            company.get(name)
            if (took := time.monotonic() - began) > 1:
                print(f"  {name} is up after {took:.0f} s")
        except DidNotWork as error:
            names.remove(name)
            results.leave_out(name, str(error))
            print(f"  left out: {name}: {error}")
    for number in work.connections:
        if connections is not None and number not in connections:
            continue
        print(f"{work.title}, {number} connection{'s' if number > 1 else ''}")
        for round_number in range(1, depth.rounds + 1):
            for name in names:
                _measure(work, number, name, round_number, company, depth, results)
        results.print_summary(work.name, number)


def _measure(
    work: Work,
    connections: int,
    name: str,
    round_number: int,
    company: Company,
    depth: Depth,
    results: Results,
) -> None:
    try:
        running = company.get(name)
        row = work.round(company, running, connections, depth.seconds * work.seconds)
    except DidNotWork as error:
        results.fail(work.name, connections, name, round_number, str(error))
        print(f"  failed: {name}: {error}")
        return
    results.add(work.name, connections, name, round_number, row)
    if sys.stdout.isatty():
        print(f"  round {round_number}: {name} {row['rate']:.0f}/s        ", end="\r")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", type=_names({work.name for work in WORKS}), metavar="WORK,...")
    parser.add_argument("--peers", type=_names(set(SUBJECTS)), metavar="NAME,...")
    parser.add_argument("--connections", type=_numbers, metavar="N,...")
    parser.add_argument("--rounds", type=int, metavar="N")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each round")
    parser.add_argument("--output", type=Path, metavar="FOLDER")
    return parser


def _names(known: set[str]):  # noqa: ANN202
    def read(text: str) -> set[str]:
        names = {name.strip() for name in text.split(",")}
        if names - known:
            unknown = ", ".join(sorted(names - known))
            raise argparse.ArgumentTypeError(
                f"unknown: {unknown}; there are {', '.join(sorted(known))}"
            )
        return names

    return read


def _numbers(text: str) -> set[int]:
    return {int(number) for number in text.split(",")}


if __name__ == "__main__":
    sys.exit(main())
