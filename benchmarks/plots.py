"""Draws the results, as SVG and PNG.

python -m benchmarks.plots [FOLDER]
"""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "keyturn"
mpl.rcParams["font.size"] = 9

from benchmarks.processes import ROOT  # noqa: E402
from benchmarks.profiling import LAYERS, load_profiles  # noqa: E402
from benchmarks.results import Results  # noqa: E402
from benchmarks.subjects import SUBJECTS  # noqa: E402
from benchmarks.works import WORKS, Work  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402 - after the choice of who draws

_COLOURS = {"keyturn": "#1b7f5c", "peer": "#b9bec6", "limit": "#31567d"}
_LEGEND = {"keyturn": "keyturn", "peer": "peers", "limit": "limits"}
_METADATA = {"svg": {"Date": None}, "png": {"Software": None}}


def draw_all(results: Results, folder: Path) -> None:
    """Draw each work that was measured, and the profiles that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for work in WORKS:
        levels = [level for level in work.levels if results.subjects(work.name, level)]
        if levels and work.name != "ceiling":
            _draw_work(results, work, levels, folder)
    draw_profiles(folder)


def _draw_work(results: Results, work: Work, levels: list[int], folder: Path) -> None:
    names = list(dict.fromkeys(n for level in levels for n in results.subjects(work.name, level)))
    figure, axes = plt.subplots(
        1,
        len(levels),
        figsize=(3.2 + 3.2 * len(levels), 1.3 + 0.32 * len(names)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, level in zip(axes[0], levels, strict=True):
        for place, name in enumerate(names):
            spread = results.spread(work.name, level, name, work.figure)
            if spread is None:
                continue
            colour = _COLOURS[SUBJECTS[name].kind]
            errors = [[spread.median - spread.least], [spread.most - spread.median]]
            axis.barh(place, spread.median, color=colour, xerr=errors, ecolor="#444", capsize=2)
            digits = 0 if spread.median >= 100 else 2
            label = f"  {spread.median:,.{digits}f}"
            axis.text(spread.most, place, label, va="center", fontsize=8)
        axis.set_title(f"{level} {work.level}" if level != 1 else "one at a time", fontsize=9)
        axis.set_xlabel(work.unit)
        axis.margins(x=0.2)
        axis.set_xlim(left=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_yticks(range(len(names)), [SUBJECTS[name].title for name in names])
    axes[0][0].invert_yaxis()
    kinds = dict.fromkeys(SUBJECTS[name].kind for name in names)
    figure.legend(
        [plt.Rectangle((0, 0), 1, 1, color=_COLOURS[kind]) for kind in kinds],
        [_LEGEND[kind] for kind in kinds],
        loc="outside lower right",
        ncols=3,
        frameon=False,
    )
    figure.suptitle(f"{work.title[0].upper()}{work.title[1:]}", fontsize=10)
    _save(figure, folder / work.name)


def draw_profiles(folder: Path) -> None:
    """Draw the time by layer of each profile that is in the folder."""
    profiles = load_profiles(folder)
    if not profiles:
        return
    figure, axis = plt.subplots(figsize=(9, 1.6 + 0.6 * len(profiles)), layout="constrained")
    colours = mpl.colormaps["tab20"].colors
    for place, told in enumerate(profiles.values()):
        whole = sum(told["layers"].values())
        left = 0.0
        for layer, colour in zip(LAYERS, colours, strict=False):
            share = 100 * told["layers"].get(layer, 0) / whole
            label = layer if place == 0 else None
            axis.barh(place, share, left=left, color=colour, label=label, height=0.6)
            if share >= 4:
                axis.text(left + share / 2, place, f"{share:.0f}", ha="center", va="center")
            left += share
    titles = [f"{name}\n{sum(told['layers'].values()):,.0f} µs" for name, told in profiles.items()]
    axis.set_yticks(range(len(profiles)), titles)
    axis.invert_yaxis()
    axis.set_xlabel("percent of the own time")
    axis.set_xlim(0, 100)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    _save(figure, folder / "profiles")


def _save(figure: plt.Figure, path: Path) -> None:
    for kind, metadata in _METADATA.items():
        figure.savefig(path.with_suffix(f".{kind}"), dpi=130, metadata=metadata)
    plt.close(figure)


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "benchmarks"
    draw_all(Results.load(chosen / "results.json"), chosen)
