"""`make bench`: every model against every contender that there is.

    python -m bench.models --peers .venv-peers/bin/python --rounds 9 --out docs
    python -m bench.models --only din --rounds 3

Writes performance.json, and from it and what the other benches wrote docs/performance.md with its plot.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from bench.duel import OURS, Result, duel
from bench.tasks import Task

TASKS = (
    Task("afm", batch=2048),
    Task("din"),
    Task("din", full=True),
    Task("dien"),
    Task("bst", bound=20),
    Task("bst", bound=100),
    Task("dsin", sessions=5, bound=20),
    Task("dstn", bound=5),
    Task("atrank"),
)
PEERS = ("deepctr", "fuxictr", "rechub", "recbole")


@click.command()
@click.option("--peers", type=click.Path(exists=True), help="Python of the environment that has the peers.")
@click.option("--only", multiple=True, help="Only the tasks of these models.")
@click.option("--rounds", default=9, show_default=True, help="Turns that each contender gets.")
@click.option("--against", multiple=True, help="Only these contenders.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench/results"), show_default=True)
def main(peers: str | None, only: tuple[str, ...], rounds: int, against: tuple[str, ...], out: Path) -> None:
    """Time training steps and scoring of all contenders, in turns."""
    pythons = dict.fromkeys(PEERS, peers) if peers else {}
    contenders = (OURS, *(against or ("handwritten", *PEERS)))
    for task in TASKS:
        if only and task.model not in only:
            continue
        result = duel(task, contenders, {k: v for k, v in pythons.items() if v}, rounds)
        click.echo(summary(result))
        out.mkdir(parents=True, exist_ok=True)
        name = task.name.replace(",", "").replace(" ", "-").lower()
        (out / f"{name}.json").write_text(json.dumps(as_json(result), indent=1))


def summary(result: Result) -> str:
    lines = [result.task.name]
    for name in result.seconds:
        train, score = (min(result.seconds[name][work]) * 1e3 for work in ("train", "score"))
        ratios = ""
        if name != OURS and OURS in result.seconds:
            ratios = f"{result.ratio(name, 'train'):8.2f} {result.ratio(name, 'score'):8.2f}"
        lines.append(
            f"  {name:12} {train:9.1f} ms {score:9.1f} ms {result.memory.get(name, 0) / 1e6:7.0f} MB {ratios}"
        )
    lines += [f"  {name:12} {why}" for name, why in result.absent.items()]
    return "\n".join(lines)


def as_json(result: Result) -> dict[str, object]:
    return {
        "task": result.task.name,
        "model": result.task.model,
        "seconds": result.seconds,
        "memory": result.memory,
        "absent": result.absent,
    }


if __name__ == "__main__":
    sys.exit(main())
