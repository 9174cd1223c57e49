"""Step times on an accelerator: the seven beside the padded module by hand, with and without torch.compile,
torch-rechub and FuxiCTR, all on the same card.

    python -m bench.gpu --peers .venv-peers/bin/python
    python -m bench.gpu --device cpu --quick        # that it runs, where there is no card

A step is timed on the clock, until the card is done; its batch's ids are moved by it for the compiled models,
and lie on the card already for the others. Who is not installed, has no such model or fails is named, and so
is what the time does not suffice for. `bench/gpu.sh` runs the tests before.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from bench.duel import OURS, WORK, Result, duel
from bench.models import pythons, summary
from bench.tasks import Task

TASKS = (
    Task("din"),
    Task("dien"),
    Task("afm", batch=2048),
    Task("bst", bound=20),
    Task("dsin", sessions=5, bound=20),
    Task("dstn", bound=5),
    Task("atrank"),
)
CONTENDERS = (OURS, "handwritten", "handwritten:compile", "rechub", "fuxictr")
LARGE = 4096  # examples a step: less does not fill a card


@click.command()
@click.option("--device", default="cuda", show_default=True)
@click.option(
    "--peers", type=click.Path(), help="Python of the environment that has torch-rechub and FuxiCTR."
)
@click.option("--rounds", default=5, show_default=True, help="Turns that each contender gets.")
@click.option("--minutes", default=4.0, show_default=True, help="No model is begun after so many.")
@click.option(
    "--quick",
    is_flag=True,
    help="Small batches, one turn, and only the first model through torch.compile: shows that it runs.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    help="A file for the results, as JSON: bench.report reads bench/results/gpu.json.",
)
def main(device: str, peers: str | None, rounds: int, minutes: float, quick: bool, save: Path | None) -> None:
    """Time training steps and scoring on a device."""
    os.environ["BENCH_DEVICE"] = device
    begin = time.monotonic()
    if peers is not None and not os.path.exists(peers):
        click.echo(
            f"{peers} is not there (`make .venv-peers/peers.stamp`): the libraries are left out if not here"
        )
        peers = None
    rounds = 1 if quick else rounds
    rows: list[dict[str, Any]] = []
    large = [replace(task, batch=32 if quick else LARGE) for task in TASKS]
    tasks = large + [task for task in TASKS if task.batch < LARGE and not quick]
    for number, task in enumerate(tasks):
        if time.monotonic() - begin > 60 * minutes:
            left = ", ".join(f"{task.name} ({task.batch})" for task in tasks[number:])
            click.echo(f"{minutes:g} minutes are over; not timed: {left}")
            break
        contenders = [c for c in CONTENDERS if not (quick and number and c.endswith(":compile"))]
        result = duel(task, contenders, pythons(peers), rounds, memory=False)
        click.echo(f"batch {task.batch}\n{summary(task, result)}\n")
        rows.append(_row(task, result))
        if save is not None:
            save.write_text(json.dumps({**_about(device), "rounds": rounds, "rows": rows}, indent=1) + "\n")


def _about(device: str) -> dict[str, str]:
    name = torch.cuda.get_device_name() if device == "cuda" else device
    return {"on": name, "torch": torch.__version__, "date": datetime.date.today().isoformat()}


def _row(task: Task, result: Result) -> dict[str, Any]:
    """Return one batch size of one model: milliseconds and ratios of training and scoring by contender."""
    return {
        "task": task.name,
        "batch": task.batch,
        "milliseconds": {n: [round(result.milliseconds(n, w), 2) for w in WORK] for n in result.seconds},
        "ratios": {n: [round(result.ratio(n, w), 3) for w in WORK] for n in result.others},
        "lesser": [n for n in result.lesser if n in result.seconds],
        "absent": result.absent,
    }


if __name__ == "__main__":
    sys.exit(main())
