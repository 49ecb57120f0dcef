"""Writes `docs/benchmarks/README.md` from the results: no figure in it is written by hand.

python -m benchmarks.report [FOLDER]
"""

import sys
from pathlib import Path

from benchmarks.processes import ROOT
from benchmarks.profiling import LAYERS, load_profiles
from benchmarks.results import Results, Spread
from benchmarks.subjects import SUBJECTS
from benchmarks.targets import TARGETS
from benchmarks.works import WORKS, Work

_INTRODUCTION = """\
# How fast keyturn is

Written by `make {command}` from [results.json](results.json), where every round stands; \
[benchmarks/README.md](../../benchmarks/README.md) says what is measured and how. Rates are those \
of one worker on this machine and mean little by themselves: what counts are the ratios, each \
taken between neighbours in the same round. A figure is the median of its rounds, with the least \
and the most of them behind it.
"""


def write_report(results: Results, file: Path) -> None:
    """Write the page."""
    command = "bench-quick" if results.kind == "quick" else "bench"
    parts = [_INTRODUCTION.format(command=command), _machine(results), _targets(results)]
    for work in WORKS:
        parts += _work(results, work, file.parent)
    parts.append(_profiles(file.parent))
    parts.append(_gaps(results))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(part for part in parts if part).rstrip() + "\n")


def _machine(results: Results) -> str:
    machine, made = results.machine, results.made
    versions = ", ".join(f"{name} {told}" for name, told in results.versions.items())
    changed = " with changes" if made.get("changed") else ""
    interrupted = ", interrupted" if made.get("interrupted") else ""
    cores = "one core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    return (
        f"Measured {made['at'][:10]} at commit `{(made.get('commit') or 'unknown')[:12]}`{changed}"
        f"{interrupted}, on {cores} of {machine['processor']}, {machine['memory_gib']} GiB, "
        f"{machine['system']}, files on {machine['file_system']}: {versions}. "
        "The peers' versions are those of their locks.\n"
    )


def _targets(results: Results) -> str:
    lines = ["## What is promised\n", "| Promise | Measured | |", "|---|---|---|"]
    for target in TARGETS:
        spread = target.measured(results)
        if spread is None:
            lines.append(f"| {target.promise} | not measured | |")
            continue
        verdict = "pass" if target.is_kept(spread) else "**miss**"
        lines.append(f"| {target.promise} | {_told(spread, share=target.share)} | {verdict} |")
    return "\n".join(lines) + "\n"


def _work(results: Results, work: Work, folder: Path) -> list[str]:
    levels = [level for level in work.levels if results.subjects(work.name, level)]
    if not levels:
        return []
    lines = [f"## {work.title[0].upper()}{work.title[1:]}\n"]
    if (folder / f"{work.name}.svg").exists():
        lines.append(f"![{work.title}]({work.name}.svg)\n")
    names = list(dict.fromkeys(n for level in levels for n in results.subjects(work.name, level)))
    with_levels = [f"{level} {_counted(work, level)}" for level in levels]
    lines.append(f"| | {' | '.join(with_levels)} |")
    lines.append("|---" * (len(levels) + 1) + "|")
    for name in names:
        cells = [_cell(results, work, level, name) for level in levels]
        lines.append(f"| {SUBJECTS[name].title} | {' | '.join(cells)} |")
    return ["\n".join(lines) + "\n", _more(results, work)]


def _cell(results: Results, work: Work, level: int, name: str) -> str:
    spread = results.spread(work.name, level, name, work.figure)
    if spread is None:
        return "failed"
    cell = f"{_told(spread)} {work.unit}".rstrip()
    if work.compared_to is not None and name != work.compared_to:
        ratio = results.ratio(work.name, level, name, work.compared_to, work.figure)
        cell += f"; × {_told(ratio)}" if ratio is not None else ""
    return cell


def _more(results: Results, work: Work) -> str:
    lines = []
    if work.name == "ceiling":
        lines.append("No server below comes near what the load generator is able to ask for.")
    if work.name == "memory":
        lines.append(
            "Proportional set size. With 50 logins under way the unique set size of keyturn "
            f"peaks at {_shown(results, 'memory', 50, 'keyturn', 'peak_uss_mib')} MiB, from "
            f"{_shown(results, 'memory', 50, 'keyturn', 'rest_uss_mib')} MiB at rest; "
            f"hashes at a time: {_shown(results, 'memory', 50, 'keyturn', 'hashing_threads')}, of "
            f"{_shown(results, 'memory', 50, 'keyturn', 'hash_mib')} MiB each."
        )
    if work.name == "workers":
        lines += [
            f"{SUBJECTS[name].title}: {_shown(results, 'workers', 32, name, 'server_cores')} cores "
            f"for the workers, {_shown(results, 'workers', 32, name, 'load_cores')} for the load "
            f"generator, of {results.machine['cores']}."
            for name in results.subjects("workers", 32)
        ]
    if work.name == "verify-beside-logins":
        lines += [
            f"{SUBJECTS[name].title} meanwhile answers "
            f"{_shown(results, work.name, 32, name, 'logins_rate')} logins a second."
            for name in results.subjects(work.name, 32)
        ]
    return "\n\n".join(lines) + "\n" if lines else ""


def _profiles(folder: Path) -> str:
    profiles = load_profiles(folder)
    if not profiles:
        return ""
    lines = ["## Where the microseconds go\n"]
    if (folder / "profiles.svg").exists():
        lines.append("![Time by layer](profiles.svg)\n")
    lines.append(
        "Own time of each layer, in microseconds of one request in the server's process.\n"
    )
    lines.append(f"| | {' | '.join(profiles)} |")
    lines.append("|---" * (len(profiles) + 1) + "|")
    for layer in LAYERS:
        cells = [f"{told['layers'].get(layer, 0):.0f}" for told in profiles.values()]
        lines.append(f"| {layer} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _gaps(results: Results) -> str:
    lines = []
    for name, reason in results.left_out.items():
        lines.append(f"- Left out: {SUBJECTS[name].title}: {' '.join(reason.split())[:200]}")
    for row in results.failures:
        reason = " ".join(row["reason"].split())[:200]
        lines.append(
            f"- Failed: {row['work']}, {row['level']}, {row['subject']}, round {row['round']}:"
            f" {reason}"
        )
    return "## What is missing\n\n" + "\n".join(lines) + "\n" if lines else ""


def _shown(results: Results, work: str, level: int, name: str, figure: str) -> str:
    spread = results.spread(work, level, name, figure)
    return "?" if spread is None else f"{spread.median:.3g}"


def _counted(work: Work, level: int) -> str:
    return work.level if level != 1 else work.level.removesuffix("es").removesuffix("s")


def _told(spread: Spread, *, share: bool = False) -> str:
    if share:
        return f"{spread.median:.1%} ({spread.least:.1%} to {spread.most:.1%})"
    digits = 0 if spread.median >= 100 else 1 if spread.median >= 10 else 2
    return f"{spread.median:,.{digits}f} ({spread.least:,.{digits}f} to {spread.most:,.{digits}f})"


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "benchmarks"
    write_report(Results.load(chosen / "results.json"), chosen / "README.md")
