"""The plot of docs/performance.md: how many times as long each contender takes, as bars.

The same results give the same file, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.duel import PLAIN

if TYPE_CHECKING:
    from bench.report import Measured

COLOURS = {
    PLAIN: "#c7c7c7",
    "handwritten": "#7f7f7f",
    "handwritten:compile": "#3f3f3f",
    "deepctr": "#4c78a8",
    "fuxictr": "#f58518",
    "rechub": "#54a24b",
    "recbole": "#b279a2",
}
WORKS = {"train": "training step", "score": "scoring"}


@dataclass(frozen=True)
class Bar:
    """One contender of one task; by work, its time in that of the compiled model."""

    task: str
    contender: str
    name: str
    ratios: dict[str, float]


def bars(models: Sequence[Measured]) -> list[Bar]:
    """In the order of the page, slowest contender of a task last."""
    found = []
    for m in models:
        for contender in sorted(m.result.others, key=lambda c: m.result.ratio(c, "train")):
            ratios = {work: m.result.ratio(contender, work) for work in WORKS}
            found.append(Bar(m.task, contender, m.name(contender), ratios))
    return found


def draw(found: Sequence[Bar], path: Path) -> None:
    """Write an SVG; raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "arec", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter

    # A bar a line, and half a line between tasks.
    heights: list[float] = []
    for number, bar in enumerate(found):
        gap = 1.0 if number and bar.task == found[number - 1].task else 1.7
        heights.append((heights[-1] if heights else 0.0) + gap)
    figure, axes = pyplot.subplots(
        1, 2, sharey=True, figsize=(9, 1 + 0.17 * (heights[-1] if heights else 1)), layout="constrained"
    )
    for axis, (work, title) in zip(axes, WORKS.items(), strict=True):
        lengths = [bar.ratios[work] for bar in found]
        colours = [COLOURS[bar.contender] for bar in found]
        axis.barh(heights, [length - 1 for length in lengths], left=1, color=colours, height=0.85)
        for height, length in zip(heights, lengths, strict=True):
            axis.annotate(
                f"{length:.1f}", (length, height), (2, 0), textcoords="offset points", va="center", size=6
            )
        axis.set_xscale("log")
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(f"{title}, times the compiled model's")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    middles = {task: [h for h, bar in zip(heights, found, strict=True) if bar.task == task]
               for task in dict.fromkeys(bar.task for bar in found)}  # fmt: skip
    axes[0].set_yticks([sum(own) / len(own) for own in middles.values()], labels=list(middles))
    for axis in axes:
        axis.tick_params(axis="y", length=0)
    axes[0].invert_yaxis()
    names = {bar.contender: bar.name for bar in found}
    handles = [
        pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[contender], label=names[contender])
        for contender in COLOURS
        if contender in names
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))
