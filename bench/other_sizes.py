"""The section of docs/performance.md on other sizes, of what `bench.cells` measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.cells import USUAL, cells
from bench.duel import OURS, Result
from bench.markdown import WORKS, Measured, table, times, wrapped
from bench.store import all_of

ABOUT = """
Measured by `python -m bench.cells`: the models at other batches, widths, lengths and bounds, and one request
of so many candidates. From the size above one thing is varied at a time. The others are the padded module by
hand, as it is and under `torch.compile` for the batch's own shapes, and, where they have the very model,
FuxiCTR and torch-rechub; a ratio is to the best of them.
"""


def of_cells(folder: Path) -> list[Measured]:
    """The results of cells, in their order, model by model; those of no cell are old and left out."""
    found = {r["task"]: Measured(r, Result.of_json(r)) for r in all_of(folder, "cells")}
    tasks = [replace(task, warm=warm) for name in USUAL for task in cells(name) for warm in (False, True)]
    return [found[task.name] for task in tasks if task.name in found]


def section(found: Sequence[Measured]) -> str:
    """Each model's worst and best cell, and all of them."""
    if not found:
        return ""
    models: dict[str, list[Measured]] = {}
    for m in found:
        models.setdefault(m.found["model"], []).append(m)
    extremes = []
    for of_model in models.values():
        for work, title in WORKS.items():
            ratios = [(r, m) for m in of_model if (r := _ratio(m, work)) is not None]
            if ratios:
                (low, worst), (high, best) = (pick(ratios, key=lambda x: x[0]) for pick in (min, max))
                row = [worst.task.partition(",")[0], title, f"**{times(low)}**", worst.task]
                extremes.append([*row, times(high), best.task])
    rows = []
    for m in found:
        row = [m.task]
        for work in WORKS:
            ratio, best = _ratio(m, work), m.result.best(work) if work in m.result.seconds[OURS] else None
            told = "" if ratio is None or best is None else f"{times(ratio)} × {m.name(best)}"
            row += [f"{m.result.milliseconds(OURS, work):.2f}" if told else "", told]
        rows.append(row)
    head = ["cell", "training ms", "training step", "scoring ms", "scoring"]
    return (
        f"## Other sizes\n\n{wrapped(ABOUT)}\n"
        + table(["model", "", "worst ×", "cell", "best ×", "cell"], extremes)
        + f"\n{table(head, rows)}"
    )


def _ratio(m: Measured, work: str) -> float | None:
    """To the best of the others; None where there is none, or the work is not done."""
    best = m.result.best(work) if work in m.result.seconds[OURS] else None
    return None if best is None else m.result.ratio(best, work)
