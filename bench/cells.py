"""The models at other sizes than `make bench` has them: batches, widths, lengths, and one request at a time.

    python -m bench.cells --peers .venv-peers/bin/python --minutes 60
    python -m bench.cells --list
    python -m bench.cells --only afm --cell "batch 32" --rounds 3

From the usual size of each model one thing is varied at a time. Against the module by hand, as it is and
under `torch.compile` (of the batch's own shapes, compiled before it is timed), and, where they have the very
model, FuxiCTR and torch-rechub; all with torch's fused Adam. Of a cell that does not reach its bar
(bench/bars.py) what it has to do at the least is counted, too. Writes bench/results/cells/CELL.json after
each; what was measured of the same code is not measured again, so that the next run goes on where this one
ended.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path

import click

from bench.bars import bar, least, missed
from bench.duel import OURS, WORK, Result, duel
from bench.models import HAND, RESULTS, pythons
from bench.store import amend, once, read
from bench.tasks import Task

BATCHES = (1, 32, 128, 512, 2048)
WIDTHS = (16, 32, 64)
SHARES = (0.1, 0.25, 1.0)
BOUNDS = (20, 50, 100, 200)
CANDIDATES = (1, 100, 500, 2000)
# The usual size of each model, and what of it is varied beside batches.
USUAL = {
    "afm": Task("afm", batch=2048),
    "din": Task("din"),
    "dien": Task("dien"),
    "bst": Task("bst", bound=20),
    "bst-mean": Task("bst", bound=20, pooling="mean"),
    "dsin": Task("dsin", sessions=5, bound=20),
    "dstn": Task("dstn", bound=5),
    "atrank": Task("atrank"),
}
OF_ANY_BOUND = ("din", "dien", "bst", "bst-mean")
PEERS = ("fuxictr", "rechub")


def cells(name: str) -> list[Task]:
    """The cells of one model, the usual one first."""
    usual = USUAL[name]
    found = [usual, *(replace(usual, batch=batch) for batch in BATCHES)]
    if name == "afm":
        found += [replace(usual, width=width) for width in WIDTHS if width != usual.channels]
        found += [replace(usual, fields=39), replace(usual, fields=39, batch=128)]
        return list(dict.fromkeys(found))
    found += [replace(usual, width=width) for width in WIDTHS if width != usual.channels]
    found += [replace(usual, share=share) for share in SHARES]
    if name in OF_ANY_BOUND:
        found += [replace(usual, bound=bound) for bound in BOUNDS]
    found += [replace(usual, batch=256, width=32)]
    found += [replace(usual, batch=count, candidates=count) for count in CANDIDATES]
    return list(dict.fromkeys(found))


def every_cell(names: Iterable[str] = USUAL) -> list[Task]:
    """The cells of all models in turns, so that a run that ends early has some of each."""
    turns = zip_longest(*(cells(name) for name in names))
    return [task for task in chain.from_iterable(turns) if task is not None]


def contenders_of(task: Task) -> tuple[str, ...]:
    """Who has the model of a cell, and is not known to be far behind."""
    return (OURS, *HAND, *(PEERS if task.usual else ()))


def works_of(task: Task) -> tuple[str, ...]:
    return WORK if task.trains else ("score",)


def line(task: Task, result: Result) -> str:
    """A cell's ratios to the best of the others."""
    parts = [f"{task.name:44}"]
    for work in works_of(task):
        best = result.best(work)
        ratio = f"{result.ratio(best, work):6.2f} x {best}" if best else "nothing to compare with"
        if work in missed(task.name, result):
            ratio += f", of {bar(task.name, work):g}"
        parts.append(f"{work} {result.milliseconds(OURS, work):8.2f} ms{ratio}")
    absent = ", ".join(f"{name}: {why}" for name, why in result.absent.items())
    return "   ".join(parts) + (f"   not there: {absent}" if absent else "")


def _named(part: str, name: str, every: set[str]) -> bool:
    """Whether a cell is asked for by its name or, where no cell has that name, by a part of it."""
    return part == name if part in every else part in name


@click.command()
@click.option("--peers", type=click.Path(exists=True), help="Python of the environment that has the peers.")
@click.option("--only", multiple=True, type=click.Choice(list(USUAL)), help="Only these models. Repeatable.")
@click.option(
    "--cell", "named", multiple=True, help="Only the cell of this name, or those with it in it. Repeatable."
)
@click.option("--warm", is_flag=True, help="All contenders with an allocator that keeps what is freed.")
@click.option("--rounds", default=5, show_default=True, help="Turns that each contender gets.")
@click.option("--minutes", default=60.0, show_default=True, help="No cell is begun after so many.")
@click.option("--again", is_flag=True, help="Measure also what was measured of the same code.")
@click.option("--list", "listed", is_flag=True, help="Print the cells' names, and measure nothing.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="bench/results")
def main(
    peers: str | None,
    only: tuple[str, ...],
    named: tuple[str, ...],
    warm: bool,
    rounds: int,
    minutes: float,
    again: bool,
    listed: bool,
    out: Path,
) -> None:
    """Time training steps and scoring of all contenders at many sizes, in turns."""
    tasks = [replace(task, warm=warm) for task in every_cell(only or USUAL)]
    if named:
        every = {task.name for task in tasks}
        tasks = [task for task in tasks if any(_named(part, task.name, every) for part in named)]
    if not tasks:
        raise click.UsageError(f"no cell has {' or '.join(named)} in its name; --list prints all")
    begin = time.monotonic()
    for number, task in enumerate(tasks):
        if listed:
            click.echo(task.name)
            continue
        if time.monotonic() - begin > 60 * minutes:
            click.echo(f"{minutes:g} minutes are over; {len(tasks) - number} of {len(tasks)} cells are left")
            break
        measure = partial(
            duel, task, contenders_of(task), pythons(peers), rounds, memory=False, works=works_of(task)
        )
        path = out / "cells" / f"{task.slug}.json"
        result = once(path, task, contenders_of(task), rounds, again, measure)
        short = missed(task.name, result)
        if short and "least" not in read(path):
            amend(path, least=least(task, short))
        click.echo(line(task, result))


if __name__ == "__main__":
    sys.exit(main())
