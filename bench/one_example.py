"""Scores of single examples: what a call costs, whatever the model computes.

    python -m bench.one_example [--only din] [--rounds 100]

Batches of one example, on one thread, no gradients: a compiled model whose scores are one call of C
(`Model.score_in_c`), the same model in torch, and the model by hand of `bench/handwritten`. Milliseconds are
medians of the processor's time; a ratio is the median over rounds, in which each has its turn, of how many
times as long another one takes as the one in C.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import click
import torch

from bench.contenders.arec import batch_of, compiled, fresh
from bench.contenders.handwritten import build
from bench.tasks import Task

TASKS = (
    Task("afm", batch=1),
    Task("din", batch=1),
    Task("dien", batch=1),
    Task("bst", batch=1, bound=20),
    Task("dsin", batch=1, sessions=5, bound=20),
    Task("dstn", batch=1, bound=5),
    Task("atrank", batch=1),
)


def ways(task: Task) -> dict[str, Callable[[], Any]]:
    """By name, what is timed."""
    in_c, plain = compiled(task).eval(), compiled(task).eval()
    if not in_c.score_in_c():
        raise click.ClickException(f"{task.model} has no scoring in C, or there is no compiler")
    batch = batch_of(in_c, task)
    return {
        "c": lambda: in_c(fresh(batch)),
        "torch": lambda: plain(fresh(batch)),
        "by hand": build(task).score,
    }


@click.command()
@click.option("--only", multiple=True, help="Only these models.")
@click.option("--rounds", default=100, show_default=True, help="Turns that each way gets.")
def main(only: tuple[str, ...], rounds: int) -> None:
    """Time the scoring of one example."""
    torch.set_num_threads(1)
    for task in TASKS:
        if only and task.model not in only:
            continue
        doing = ways(task)
        taken: dict[str, list[float]] = {name: [] for name in doing}
        with torch.no_grad():
            for _ in range(rounds):
                for name, do in doing.items():
                    begin = time.process_time()
                    do()
                    taken[name].append(1e3 * (time.process_time() - begin))
        middle = "".join(f"  {name} {statistics.median(ms):.2f}" for name, ms in taken.items())
        for name in ("torch", "by hand"):
            ratio = statistics.median(a / b for a, b in zip(taken[name], taken["c"], strict=True))
            middle += f"  {name} × {ratio:.2f}"
        click.echo(f"{task.model:7}{middle}")


if __name__ == "__main__":
    main()
