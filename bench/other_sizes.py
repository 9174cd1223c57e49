"""The section of docs/performance.md on other sizes, of what `bench.cells` measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.bars import AT_LEAST, bar, limit, missed
from bench.cells import USUAL, cells
from bench.duel import OURS, Result
from bench.markdown import WORKS, Measured, table, times, wrapped
from bench.store import all_of

ABOUT = """
Measured by `python -m bench.cells`{when}: the models at other batches, widths, lengths and bounds, and one
request of so many candidates. From the size above one thing is varied at a time. The others are the padded
module by hand, as it is and under `torch.compile` for the batch's own shapes, and, where they have the very
model, FuxiCTR and torch-rechub; a ratio is to the best of them.
"""
ABOUT_SHORT = """
Bars are how many times as fast a cell is meant to be (`bench/bars.py`); without one of its own a cell is to
be no slower than the best. Products: the ratio if the compiled model did nothing but its matrix products, at
the {peak:.0f} GFLOP a second that this processor does of a product of 12,800 x 128 with 128 x 384. Limit: if
it also made its exponentials, {exponential:.2f} ns each, and moved its weights, {moving:.0f} GB a second at
best: in scoring each is read once; in training it is read twice and written, its gradient is written and
read, and two moments are read and written; of tables the rows that a batch names. What lies between is
lookups, what is done value by value, memory of positions, and the fixed cost of a step.
"""


def of_cells(folder: Path) -> list[Measured]:
    """The results of cells, in their order, model by model; those of no cell are old and left out."""
    found = {r["task"]: Measured(r, Result.of_json(r)) for r in all_of(folder, "cells")}
    tasks = [replace(task, warm=warm) for name in USUAL for task in cells(name) for warm in (False, True)]
    return [found[task.name] for task in tasks if task.name in found]


def section(found: Sequence[Measured]) -> str:
    """Each model's worst and best cell, what does not reach its bar, and all cells."""
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
        f"## Other sizes\n\n{wrapped(ABOUT.format(when=_when(found)))}\n"
        + table(["model", "", "worst ×", "cell", "best ×", "cell"], extremes)
        + f"\n{_short(found)}\n{table(head, rows)}"
    )


def _when(found: Sequence[Measured]) -> str:
    """The days, revisions and turns of some results."""
    machines = [m.found["machine"] for m in found]
    days, revisions = ({str(machine[key]) for machine in machines} for key in ("date", "revision"))
    rounds = {m.found["rounds"] for m in found}
    told = (" and ".join(sorted(map(str, each))) for each in (days, revisions))
    turns = " or ".join(str(n) for n in sorted(rounds))
    return f" on {' at revision '.join(told)}, turns: {turns}"


def _short(found: Sequence[Measured]) -> str:
    """Which cells do not reach their bars, and what the arithmetic that is left allows."""
    rows, counted = [], []
    for m in found:
        for work in missed(m.task, m.result):
            best = m.result.best(work) or ""
            within = limit(m.found, m.result.milliseconds(best, work) / 1e3, work)
            if within:
                counted.append(m.found["least"][work])
            rows.append([
                m.task,
                WORKS[work],
                f"{times(m.result.ratio(best, work))} × {m.name(best)}",
                f"{bar(m.task, work):g}",
                *(times(within[kind]) if within else "" for kind in ("products", "all")),
            ])  # fmt: skip
    count = sum(len(m.result.seconds[OURS]) for m in found)
    if not rows:
        return wrapped(f"All {count} figures reach their bars (`bench/bars.py`); none is below {AT_LEAST:g}.")
    slower = sum(1 for m in found for work in WORKS if (_ratio(m, work) or AT_LEAST) < 0.995)
    about = f"Of {count} figures {len(rows)} are short of their bars, {slower or 'none'} below 1."
    if counted:
        quickest = {
            what: max(each[what] / each[f"seconds of {what}"] for each in counted if each[what]) / 1e9
            for what in ("operations", "exponentials", "bytes")
            if any(each[what] for each in counted)
        }
        about += ABOUT_SHORT.format(
            peak=quickest["operations"],
            exponential=1 / quickest.get("exponentials", 1),
            moving=quickest.get("bytes", 0),
        )
    head = ["short of the bar", "", "reached", "bar", "products", "limit"]
    return f"{wrapped(about)}\n{table(head, rows)}"


def _ratio(m: Measured, work: str) -> float | None:
    """To the best of the others; None where there is none, or the work is not done."""
    best = m.result.best(work) if work in m.result.seconds[OURS] else None
    return None if best is None else m.result.ratio(best, work)
