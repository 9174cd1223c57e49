"""`make bench`: every model against every contender that there is.

    python -m bench.models --peers .venv-peers/bin/python --rounds 9
    python -m bench.models --only din --rounds 3 --json

The contenders are the module by hand, as it is and under `torch.compile` (of the batch's own shapes, compiled
before it is timed), and the libraries' own models; all with torch's fused Adam.
Writes bench/results/models/TASK.json after each task; what was measured of the same code is not measured
again, so that a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import click

from bench.duel import OURS, PLAIN, Result, duel
from bench.store import once
from bench.tasks import Task

TASKS = (
    Task("afm", batch=2048),
    Task("din"),
    Task("din", full=True),
    Task("dien"),
    Task("bst", bound=20),
    Task("bst", bound=20, small_head=True),
    Task("bst", bound=100),
    Task("dsin", sessions=5, bound=20),
    Task("dstn", bound=5),
    Task("dstn", bound=5, small_head=True),
    Task("atrank"),
)
# The module by hand as it is, and under torch.compile for the shapes of its batch.
HAND = ("handwritten", "handwritten:compile")
PEERS = ("deepctr", "fuxictr", "rechub", "recbole")
RESULTS = Path(__file__).parent / "results"


def pythons(peers: str | None) -> dict[str, str]:
    """By contender, the Python that has it, where that is not ours."""
    return dict.fromkeys(PEERS, peers) if peers else {}


@click.command()
@click.option("--peers", type=click.Path(exists=True), help="Python of the environment that has the peers.")
@click.option("--only", multiple=True, help="Only the tasks of these models.")
@click.option("--rounds", default=9, show_default=True, help="Turns that each contender gets.")
@click.option(
    "--against", multiple=True, help=f"Only these contenders of {', '.join((*HAND, *PEERS))}. Repeatable."
)
@click.option("--again", is_flag=True, help="Measure also what was measured of the same code.")
@click.option("--json", "as_json", is_flag=True, help="Print results as JSON, one a line.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="bench/results")
def main(
    peers: str | None,
    only: tuple[str, ...],
    rounds: int,
    against: tuple[str, ...],
    again: bool,
    as_json: bool,
    out: Path,
) -> None:
    """Time training steps and scoring of all contenders, in turns."""
    for task in TASKS:
        if only and task.model not in only:
            continue
        contenders = (OURS, PLAIN, *(against or (*HAND, *PEERS)))
        path = out / "models" / f"{task.slug}.json"
        measure = partial(duel, task, contenders, pythons(peers), rounds)
        result = once(path, task, contenders, rounds, again, measure)
        click.echo(json.dumps(json.loads(path.read_text())) if as_json else summary(task, result))


def summary(task: Task, result: Result) -> str:
    lines = [f"{task.name:30}   train ms  score ms      MB   train x  score x"]
    for name in result.seconds:
        times = "".join(f"{result.milliseconds(name, work):10.1f}" for work in ("train", "score"))
        ratios = ""
        if name != OURS and OURS in result.seconds:
            ratios = "".join(f"{result.ratio(name, work):9.2f}" for work in ("train", "score"))
            ratios += "  lesser" * (name in result.lesser)
        lines.append(f"  {name:28}{times}{result.memory.get(name, 0) / 1e6:8.0f}{ratios}")
    lines += [f"  {name:28} {why}" for name, why in result.absent.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
