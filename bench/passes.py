"""What each pass is worth: a model's steps with one pass switched off, beside those with all.

    python -m bench.passes --rounds 5

A pass that leaves the emitted source as it is does nothing for a model and is not timed. Writes
bench/results/passes/TASK.json after each task, and goes on where it was, as bench.models does.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from bench.contenders.arec import params_of, passes_of, spec_of
from bench.duel import OURS, Result, duel
from bench.models import RESULTS, TASKS
from bench.store import once
from bench.tasks import Task
from specc import driver
from specc.passes import DEFAULT
from specc.report import Report


def variants(task: Task) -> list[str]:
    """Those contenders of our own that emit something else than the full set does: without any pass, and
    without each one."""
    full = emitted(task, "")
    return [f"{OURS}:{v}" for v in ("none", *(f"-{name}" for name in DEFAULT)) if emitted(task, v) != full]


def emitted(task: Task, variant: str) -> str:
    """The module that is written for a task's spec."""
    report = Report()
    found = driver.compiled(spec_of(task), passes_of(variant), None, params_of(task), report)
    assert found is not None, report
    return found.texts["model.py"]


@click.command()
@click.option("--only", multiple=True, help="Only the tasks of these models.")
@click.option("--rounds", default=5, show_default=True, help="Turns that each variant gets.")
@click.option("--again", is_flag=True, help="Measure also what was measured of the same code.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="bench/results")
def main(only: tuple[str, ...], rounds: int, again: bool, out: Path) -> None:
    """Time each model without each pass that matters to it, in turns."""
    for task in TASKS:
        if only and task.model not in only:
            continue
        contenders = [OURS, *variants(task)]
        path = out / "passes" / f"{task.slug}.json"
        measure = partial(duel, task, contenders, {}, rounds)
        result = once(path, task, contenders, rounds, again, measure, passes=list(DEFAULT))
        click.echo(summary(task, result))


def summary(task: Task, result: Result) -> str:
    lines = [f"{task.name:30}    train    score   memory"]
    for name in result.others:
        ratios = "".join(f"{result.ratio(name, work):9.2f}" for work in ("train", "score"))
        memory = result.memory[name] / max(result.memory[OURS], 1)
        lines.append(f"  {name:28}{ratios}{memory:9.2f}")
    return "\n".join([*lines, *(f"  {name:28} {why}" for name, why in result.absent.items())])


if __name__ == "__main__":
    sys.exit(main())
