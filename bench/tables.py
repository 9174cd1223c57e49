"""Step time against the size of a table: by row, exact and lazy, dense, and a library's.

    python -m bench.tables --peers .venv-peers/bin/python

DIN on one table of 16 channels of 10^4 to 10^7 rows, 512 examples with 25 positions on average, Adam. Writes
bench/results/tables/ROWS-rows.json after each size, and goes on where it was, as bench.models does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import click

from bench.duel import OURS, Result, duel
from bench.machine import available_memory
from bench.models import RESULTS, pythons
from bench.store import once
from bench.tasks import FIELD_WIDTH, Task

CONTENDERS = (OURS, f"{OURS}:exact", "fuxictr", f"{OURS}:dense")


def bytes_of(task: Task) -> int:
    """What a process holds at most: a table, its gradient and two moments, and one more while it is made."""
    return 5 * task.rows * FIELD_WIDTH * 4 + (1 << 29)


def with_room(task: Task, contenders: Sequence[str], free: int) -> tuple[list[str], dict[str, str]]:
    """As many contenders as fit side by side in four fifths of the free memory; why the others do not."""
    count = int(0.8 * free) // bytes_of(task)
    needed = f"it needs {bytes_of(task) / 1e9:.0f} GB beside the others"
    return list(contenders[:count]), dict.fromkeys(contenders[count:], needed)


@click.command()
@click.option("--peers", type=click.Path(exists=True), help="Python of the environment that has the peers.")
@click.option("--largest", default=7, show_default=True, help="Power of ten of the largest table.")
@click.option("--rounds", default=9, show_default=True)
@click.option("--again", is_flag=True, help="Measure also what was measured of the same code.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="bench/results")
def main(peers: str | None, largest: int, rounds: int, again: bool, out: Path) -> None:
    """Time a training step with tables of 10^4 rows and up."""
    for power in range(4, largest + 1):
        task = Task("tables", rows=10**power)
        path = out / "tables" / f"{task.slug}.json"
        measure = partial(measured, task, pythons(peers), rounds)
        click.echo(summary(task, once(path, task, CONTENDERS, rounds, again, measure, rows=task.rows)))


def measured(task: Task, pythons: Mapping[str, str], rounds: int) -> Result:
    """The training steps of all contenders for which there is room."""
    contenders, left_out = with_room(task, CONTENDERS, available_memory())
    result = duel(task, contenders, pythons, rounds, memory=False, works=("train",))
    result.absent.update(left_out)
    return result


def summary(task: Task, result: Result) -> str:
    times = [f"{name} {result.milliseconds(name, 'train'):.1f} ms" for name in result.seconds]
    missing = [f"{name}: {why}" for name, why in result.absent.items()]
    return f"{task.rows:>10,} rows: " + ", ".join([*times, *missing])


if __name__ == "__main__":
    sys.exit(main())
