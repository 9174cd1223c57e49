"""docs/performance.md, with its plot, from what the benches wrote to bench/results.

    python -m bench.report

Writes what is there: a section whose bench has not run is left out. Measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench.bars import BARS
from bench.duel import OURS, PLAIN, Result
from bench.markdown import NAMES, WORKS, Measured, table, times, wrapped
from bench.models import HAND, PEERS, RESULTS, TASKS
from bench.other_sizes import of_cells, section
from bench.serving_page import serving
from bench.store import all_of

DOCS = Path(__file__).parents[1] / "docs"
# How many times as fast as the best of the others a compiled model is meant to be: training step, scoring.
GOALS = {
    **BARS,
    "DIN, T 100, all at the bound": BARS["DIN, T 100, 100% of the bound"],
    "BST, T 20, head 200-80": (5, 5),
    "BST, T 100": (10, 9),
    "DSTN, T 5, head 200-80": (2, 1.8),
}
# Contenders on a card.
GPU = {
    OURS: "compiled",
    "handwritten": "by hand, padded",
    "handwritten:compile": "by hand, torch.compile",
    "rechub": "torch-rechub",
    "fuxictr": "FuxiCTR",
}
WITHOUT_SEQUENCE = ("afm",)
MEMORY_GOAL = 3
ABOUT = """
Written by `python -m bench.report` from what `make bench` measured; do not edit. PyTorch on the CPU,
one thread, all contenders in turns, each in a process of its own. A ratio is how many times as long a
contender takes as the compiled model, the median over the turns, in processor seconds, so that other load on
the machine counts less; milliseconds are the quickest turn's. Memory is the peak of a training step above
what the process held before it. Batches of 512 (AFM 2048), items and categories 64 + 64 wide, lengths from a
power law with a mean of a quarter of the bound. Beside libraries stands the padded module by hand, as it is
and under `torch.compile` for the batch's own shapes. All contenders have torch's fused Adam; of the tables,
the compiled models' optimizer visits the rows of the batch, lazily, the others' all of them. The sizes are in
`bench/tasks.py` and `bench/specs/`.
"""
ABOUT_APPENDED = """
`append(history, candidate)` in models that read the whole sequence, with the pass `appended` and without it,
in turns in one process (`python -m bench.appended`, {rounds} turns, medians of paired ratios, {date}). A
request has a history at its bound and {candidates} candidates; memory is its peak. A training step has
{batch} examples. HSTU is causal: its history is computed once a request. BST is not: what its positions read
of each other is computed once a request, and what is made of that once a candidate.
"""
ABOUT_GPU = """
`bench/gpu.sh` on one {on}, torch {torch}, {date}; {rounds} turns, medians of their ratios, training step /
scoring, on the clock until the card is done. The compiled models' batches are laid out on the host and moved
to the card within the step; the others' lie there already. All seven models equal those of the CPU there in
value and gradient (1e-8, double precision), and none waits for the card
(`tests/devices/test_accelerator.py`).
"""
FOUND_ON_GPU = """
A card is not what compiled models are fast on yet. Nested and long ragged histories gain (DSIN, ATRank,
DIN at 4096); everything else is bound by the host, which starts more and smaller kernels than the padded
module does: a step takes about as long at 512 examples as at 4096. AFM spends three quarters of its training
step in the optimizer, which visits the 52 tables one after the other, 26 kernels each (8 of 50 ms on the
card), and most of its scoring in as many lookups. DIEN has no kernel of its own for recurrences on a card:
each step of time is some launches.
"""
ABOUT_BEST = """
Against the best of the others that does the same work, which may be one in training and another in scoring;
memory is against the best in training.
"""
ABOUT_ALONE = """
Scores are computed by one call of C (`Model.score_in_c`, as `Scorer` has it). In training all steps of a
recurrence run as one call of C, and so do attention, products of all pairs, and reading and updating many
tables; matrix products are by panels, too, with what is added and an activation in the same pass. In torch
alone, where there is no C compiler, training and scoring are so
many times as quick as the best of the others:
"""
# Multiplications and additions of a step, by the shapes.
ABOUT_MISSED = """
What every contender has to do limits how far apart they can be: under "Other sizes" stands, of each bar that
is not reached, what products, exponentials and weights alone allow. A training step of BST at T 20 and of
DSTN has 2.6 and 1.3 GFLOP in the perceptron on top, of the papers' size, about half of the compiled model's
step, whatever becomes of the histories: so both are here with DIN's small one, too.
"""
ABOUT_SCORING = """
C multiplies by itself where it has one thread: 95 to 110 GFLOP a second of 48 rows or more, where BLAS does
67 to 86 of a history's rows. In scoring a block of rows at a time goes through a chain of products,
activations and norms, so that what these give each other stays in the cache. Where a batch names few rows of
a table, these are multiplied once each: of 12,800 x 128 with 384 x 128, half of whose channels are rows of a
table, that takes two thirds of the time where 100 or 1,000 rows are named, and 0.83 of it where it is 3,000.
"""
ALT = """
Bars: how many times as long each contender takes as the compiled model, for each model, in training and in
scoring; the figures are in the tables below
"""
ABOUT_PASSES = """
How many times as long a training step and scoring take without a pass but with all others, and how many
times as much memory a training step. Empty where the emitted module is the same.
"""
ABOUT_TORCH_COMPILE = """
How many times as fast an emitted module is under `torch.compile(dynamic=True)`, how often it was compiled
again for batches of other sizes and lengths, and how long the first compilation took.
"""
ABOUT_COMPILE_TIME = """
From a spec's text to a module that is ready, in milliseconds beyond importing torch: the first compilation of
a process, its imports included, and the next one, at the sizes of the shipped specs. Tables of 2^18 numbers
or more draw their starting values when they are first read, which is told beside. Meant to take 150 on the
clock at most, and the check of all shipped specs 500.
"""
ABOUT_TABLES = """
A training step of DIN on one table of 16 channels, in milliseconds: with gradients and Adam by row, and with
dense ones, as the libraries have them. By row, exact tables are those of dense Adam, as recipes have them
unless they say otherwise; lazy ones, `adam(lazy = true)`, never do what rows have missed. Steps by row go
through 32 batches in turns, so that the rows of a batch have missed steps when they are read.
"""


def measured(folder: Path, kind: str) -> list[Measured]:
    """The results of a kind, in the order of the tasks; those of no task are old and left out."""
    found = {r["task"]: Measured(r, Result.of_json(r)) for r in all_of(folder, kind)}
    return [found[task.name] for task in TASKS if task.name in found]


def page(results: Path) -> str:
    """The whole page."""
    models = measured(results, "models")
    tables = sorted(all_of(results, "tables"), key=lambda r: r["rows"])
    passes = measured(results, "passes")
    told = [m.found for m in (*models, *passes)] + tables
    sections = [
        f"# Performance\n\n{wrapped(ABOUT)}",
        _machine(told),
        _overview(models),
        section(of_cells(results)),
        _models(models),
        _passes(passes),
        _torch_compile(_read(results / "torch_compile.json")),
        _compile_time(_read(results / "compile_time.json")),
        _tables(tables),
        serving(results),
        _appended(_read(results / "appended.json")),
        _gpu(_read(results / "gpu.json")),
    ]
    return "\n".join(section for section in sections if section)


def _machine(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return ""

    def all_of(key: str) -> str:
        return " and ".join(sorted({str(r["machine"][key]) for r in found}))

    rounds = " or ".join(str(n) for n in sorted({r["rounds"] for r in found}))
    return wrapped(
        f"Measured on {all_of('date')} at revision {all_of('revision')}, on {all_of('processor')}, "
        f"{all_of('system')}, with Python {all_of('python')} and torch {all_of('torch')}; turns: {rounds}."
    )


def _overview(models: Sequence[Measured]) -> str:
    """Against the best of the others, beside what was meant to be reached."""
    if not models:
        return ""
    rows, missed = [], []
    for m in models:
        best = {work: m.result.best(work) for work in ("train", "score")}
        if best["train"] is None or best["score"] is None:
            rows.append([m.task, "nothing to compare with", *[""] * 5])
            continue
        row = [m.task]
        for number, work in enumerate(("train", "score")):
            ratio, goal = m.result.ratio(best[work] or "", work), GOALS[m.task][number]
            row += [f"**{times(ratio)}** × {m.name(best[work] or '')}", f"{goal:g}"]
            if round(ratio, 2) < goal:
                missed.append(f"{m.task}, {WORKS[work]}: {times(ratio)} of {goal:g}")
        theirs, ours = (m.result.memory.get(c, 0) for c in (best["train"], OURS))
        row.append(f"{theirs / ours:.1f}" if ours and theirs else "")
        row.append("" if m.found["model"] in WITHOUT_SEQUENCE else str(MEMORY_GOAL))
        if ours and theirs / ours < MEMORY_GOAL and row[-1]:
            missed.append(f"{m.task}, memory: {theirs / ours:.1f} of {MEMORY_GOAL}")
        rows.append(row)
    said = wrapped(f"Short of the goal: {'; '.join(missed)}." if missed else "Every goal is reached.")
    if missed:
        said += f"\n{wrapped(ABOUT_MISSED)}\n{wrapped(ABOUT_SCORING)}"
    head = ["model", "training step", "goal", "scoring", "goal", "memory", "goal"]
    picture = f"![{' '.join(ALT.split())}](performance.svg)\n"
    return "\n".join([wrapped(ABOUT_BEST), table(head, rows), f"{said}{_alone(models)}", picture])


def _alone(models: Sequence[Measured]) -> str:
    """What the models with kernels in C reach without them."""
    found = []
    for m in models:
        best = [(work, name) for work in ("train", "score") if (name := m.result.best(work)) is not None]
        if PLAIN in m.result.seconds and best:
            ratios = " and ".join(times(m.result.ratio(name, work, PLAIN)) for work, name in best)
            found.append(f"{m.task}: {ratios}")
    return "\n" + wrapped(f"{ABOUT_ALONE.strip()} {'; '.join(found)}.") if found else ""


def _models(models: Sequence[Measured]) -> str:
    return "## Models\n\n" + "\n".join(_model(m) for m in models) if models else ""


def _model(m: Measured) -> str:
    """All contenders of one task."""
    result = m.result
    best = {work: result.best(work) for work in ("train", "score")}
    notes: list[str] = []
    rows = []
    for name in [OURS, *sorted(result.others, key=lambda c: result.ratio(c, "train"))]:
        title = m.name(name)
        if name in result.differs:
            notes.append(result.differs[name])
            title += f" ({len(notes)})" + (", less work" if name in result.lesser else "")
        row = [title]
        for work in ("train", "score"):
            ratio = times(result.ratio(name, work))
            row.append("1" if name == OURS else f"**{ratio}**" if name == best[work] else ratio)
        row += [f"{result.milliseconds(name, work):.1f}" for work in ("train", "score")]
        row.append(f"{result.memory[name] / 1e6:.0f}" if result.memory.get(name) else "")
        rows.append(row)
    lines = [f"### {m.task}", ""]
    if m.found["lengths"]:
        lines += [f"Histories on average: {m.found['lengths']}.", ""]
    lines.append(table(["", "training ×", "scoring ×", "training ms", "scoring ms", "MB"], rows))
    lines += [wrapped(f"({number}) {note[0].upper()}{note[1:]}.") for number, note in enumerate(notes, 1)]
    lines.append(_absent(m))
    return "\n".join(lines)


def _absent(m: Measured) -> str:
    """Who is not there, and why; who was not asked, too."""
    reasons = {name: why for name, why in m.result.absent.items() if name in NAMES}
    for name in (*HAND, *PEERS):
        if name not in m.result.seconds:
            reasons.setdefault(name, "not asked")
    by_reason: dict[str, list[str]] = {}
    for name, why in reasons.items():
        by_reason.setdefault(why, []).append(NAMES[name])
    said = [f"{', '.join(names)} ({why})" for why, names in by_reason.items()]
    return wrapped(f"Not there: {'; '.join(said)}.") if said else ""


def _passes(results: Sequence[Measured]) -> str:
    """What each pass is worth."""
    if not results:
        return ""
    known: list[str] = max((r.found["passes"] for r in results), key=len)
    rows = []
    for title, variant in [*((f"`{name}`", f"-{name}") for name in known), ("all of them", "none")]:
        cells = [_worth(r.result, f"{OURS}:{variant}") for r in results]
        if any(cells):
            rows.append([title, *cells])
    idle = [f"`{name}`" for name in known if not any(row[0] == f"`{name}`" for row in rows)]
    said = wrapped(f"Of no use alone to any of these: {', '.join(idle)}.") if idle else ""
    return (
        f"## What each pass is worth\n\n{wrapped(ABOUT_PASSES)}\n"
        + table(["without", *(r.task for r in results)], rows)
        + (f"\n{said}" if said else "")
    )


def _worth(result: Result, variant: str) -> str:
    if variant not in result.seconds:
        return result.absent.get(variant, "")
    ours, theirs = result.memory.get(OURS), result.memory.get(variant)
    memory = times(theirs / ours) if ours and theirs else "?"
    return " / ".join([*(times(result.ratio(variant, work)) for work in ("train", "score")), memory])


def _torch_compile(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    rows = [
        [name, *(f"{f[key]:.2f}" for key in ("train_ratio", "score_ratio")), str(f["recompiles"]),
         f"{f['first_s']:.0f}"]
        for name, f in found["models"].items()
    ]  # fmt: skip
    return f"## With torch.compile\n\n{wrapped(ABOUT_TORCH_COMPILE)}\n" + table(
        ["model", "training step", "scoring", "compiled again", "first, s"], rows
    )


def _compile_time(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    check = found["check"]
    columns = {
        "wall": "first, on the clock",
        "first": "first, processor",
        "next": "next, processor",
        "filled": "tables, when read",
    }
    rows = [
        [name, *(f"{times[c]:.0f}" if c in times else "" for c in columns)]
        for name, times in found.items()
        if name != "check"
    ]
    spent = f"{check['milliseconds']:.0f} ms on the clock"
    return (
        f"## Compile time\n\n{wrapped(ABOUT_COMPILE_TIME)}\n"
        + table(["model", *columns.values()], rows)
        + f"\n`specc check` of all {check['specs']} shipped specs: {spent}.\n"
    )


def _tables(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return ""
    versions = {name: v for r in found for name, v in r["versions"].items()}
    kinds = {
        f"{OURS}:exact": "compiled, by row, exact",
        OURS: "compiled, by row, lazy",
        f"{OURS}:dense": "compiled, dense",
        "fuxictr": f"FuxiCTR {versions.get('fuxictr', '')}".strip(),
    }
    rows = []
    for r in found:
        result = Result.of_json(r)
        cells = [f"{result.milliseconds(n, 'train'):.1f}" if n in result.seconds else "–" for n in kinds]
        rows.append([f"{r['rows']:,}", *cells])
    missing = dict.fromkeys(
        f"{kinds[name]} at {r['rows']:,} rows: {why}"
        for r in found
        for name, why in r["absent"].items()
        if name in kinds
    )
    return (
        f"## Tables\n\n{wrapped(ABOUT_TABLES)}\n"
        + table(["rows", *kinds.values()], rows)
        + ("\n" + wrapped(f"Not there: {'; '.join(missing)}.") if missing else "")
    )


def _appended(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    rows = [
        [
            row["model"],
            *(" / ".join(f"{x:.1f}" for x in row[what]) for what in ("milliseconds", "megabytes")),
            times(row["scoring"]),
            times(row["training"]),
        ]
        for row in found["rows"]
    ]
    head = ["model", "request, ms, with / without", "MB", "scoring", "training step"]
    return f"## A candidate at the end\n\n{wrapped(ABOUT_APPENDED.format(**found))}\n" + table(head, rows)


def _gpu(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    names = [n for n in GPU if n != OURS and any(n in row["milliseconds"] for row in found["rows"])]
    rows = [
        [
            row["task"],
            str(row["batch"]),
            " / ".join(f"{ms:.1f}" for ms in row["milliseconds"][OURS]),
            *(" / ".join(map(times, row["ratios"][n])) if n in row["ratios"] else "–" for n in names),
        ]
        for row in found["rows"]
    ]
    less = dict.fromkeys(f"{GPU[n]}'s {row['task']}" for row in found["rows"] for n in row["lesser"])
    lesser = ", ".join(less)
    return (
        f"## On a GPU\n\n{wrapped(ABOUT_GPU.format(**found))}\n"
        + table(["model", "batch", "compiled, ms", *(GPU[n] for n in names)], rows)
        + (f"\n{wrapped(f'Less arithmetic than the spec asks for: {lesser}.')}" if lesser else "")
        + f"\n{wrapped(FOUND_ON_GPU)}"
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None


@click.command()
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default="bench/results")
@click.option("--out", type=click.Path(path_type=Path), default=DOCS, show_default="docs")
def main(results: Path, out: Path) -> None:
    """Write performance.md and performance.svg."""
    from bench.plot import bars, draw

    (out / "performance.md").write_text(page(results).rstrip() + "\n", encoding="utf-8")
    try:
        draw(bars(measured(results, "models")), out / "performance.svg")
    except ImportError as missing:
        click.echo(f"no plot: {missing}; it comes with the extra `bench`", err=True)


if __name__ == "__main__":
    main()
