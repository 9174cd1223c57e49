"""Step times on an accelerator: the seven beside the padded module by hand, with and without torch.compile,
torch-rechub and FuxiCTR, all on the same card.

    python -m bench.gpu --peers .venv-peers/bin/python
    python -m bench.gpu --device cpu --quick        # that it runs, where there is no card

A step is timed on the clock, until the card is done; its batch's ids are moved by it for the compiled models,
and lie on the card already for the others. Who is not installed, has no such model or fails is named, and so
is what the time does not suffice for. `bench/gpu.sh` runs the tests before.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

import click

from bench.duel import OURS, duel
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
def main(device: str, peers: str | None, rounds: int, minutes: float, quick: bool) -> None:
    """Time training steps and scoring on a device."""
    os.environ["BENCH_DEVICE"] = device
    begin = time.monotonic()
    if peers is not None and not os.path.exists(peers):
        click.echo(
            f"{peers} is not there (`make .venv-peers/peers.stamp`): the libraries are left out if not here"
        )
        peers = None
    large = [replace(task, batch=32 if quick else LARGE) for task in TASKS]
    tasks = large + [task for task in TASKS if task.batch < LARGE and not quick]
    for number, task in enumerate(tasks):
        if time.monotonic() - begin > 60 * minutes:
            left = ", ".join(f"{task.name} ({task.batch})" for task in tasks[number:])
            click.echo(f"{minutes:g} minutes are over; not timed: {left}")
            break
        contenders = [c for c in CONTENDERS if not (quick and number and c.endswith(":compile"))]
        result = duel(task, contenders, pythons(peers), 1 if quick else rounds, memory=False)
        click.echo(f"batch {task.batch}\n{summary(task, result)}\n")


if __name__ == "__main__":
    sys.exit(main())
