"""What keeping a history apart from the candidate at its end is worth: requests and training steps, with the
pass `appended` and without it.

    python -m bench.appended --out bench/results/appended.json
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch

import specc
from specc import resources
from specc.passes import DEFAULT
from specc.testing.batches import random_batch
from specc_runtime import Batch, Model

WITHOUT = tuple(name for name in DEFAULT if name != "appended")
CANDIDATES, BATCH = 200, 128


def models() -> dict[str, str]:
    """By name, the texts of the specs that are measured; tables are small, so that a step is of the model."""
    hstu, bst = ((resources.specs() / f"{name}.arec").read_text() for name in ("more/hstu", "bst"))
    pooled = "output = if pooling == target then seen else "
    start = bst.index(pooled) + len(pooled)
    mean = bst[:start] + "mean(read, over u)" + bst[bst.index("\n", start) :]
    texts = {"HSTU": hstu, "BST, target": bst, "BST, mean": mean.replace("pooling = target", "pooling = all")}
    return {
        name: text.replace("1_000_000", "20_000").replace("500_000", "20_000") for name, text in texts.items()
    }


def compiled(name: str, passes: tuple[str, ...]) -> Model:
    torch.manual_seed(0)
    return specc.compile(models()[name], passes=passes)


def request(model: Model) -> Batch:
    """A request with its candidates and a history at its bound."""
    return random_batch(model.manifest, 1, 0, full=True, candidates=True, most=CANDIDATES)


def score(model: Model, batch: Batch) -> None:
    with torch.no_grad():
        model.eval()(batch)


def train(model: Model, batch: Batch) -> None:
    model.train().zero_grad()
    model.loss(batch).backward()


def seconds(work: Callable[[Model, Batch], None], model: Model, batch: Batch) -> float:
    batch.__dict__.pop("layout", None)
    start = time.process_time()
    work(model, batch)
    return time.process_time() - start


def megabytes(name: str, passes: tuple[str, ...]) -> float:
    """The peak of one request above what the process held before it, in a process of its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (name, passes))


def _peak(name: str, passes: tuple[str, ...]) -> float:
    torch.set_num_threads(1)
    model = compiled(name, passes)
    score(model, random_batch(model.manifest, 1, 0, full=True, candidates=True, most=1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    score(model, request(model))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def row_of(name: str, rounds: int, held: list[float]) -> dict[str, Any]:
    both = [compiled(name, passes) for passes in (DEFAULT, WITHOUT)]
    asked = request(both[0])
    learnt = random_batch(both[0].manifest, BATCH, 0, empty=0.0)
    taken: dict[str, list[list[float]]] = {}
    for what, work, batch in (("score", score, asked), ("train", train, learnt)):
        for model in both:
            work(model, batch)
        taken[what] = [[seconds(work, model, batch) for model in both] for _ in range(rounds)]
    return {
        "model": name,
        "milliseconds": [1000 * median(times) for times in zip(*taken["score"], strict=True)],
        "megabytes": held,
        "scoring": median(without / own for own, without in taken["score"]),
        "training": median(without / own for own, without in taken["train"]),
    }


@click.command()
@click.option("--rounds", type=int, default=9, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path(__file__).parent / "results/appended.json"
)
def main(rounds: int, out: Path) -> None:
    """Measure, and write the results."""
    torch.set_num_threads(1)
    # First, as a process begins with the peak of the one that started it.
    held = {name: [megabytes(name, passes) for passes in (DEFAULT, WITHOUT)] for name in models()}
    rows = [row_of(name, rounds, held[name]) for name in models()]
    found = {"date": datetime.now(UTC).date().isoformat(), "rounds": rounds, "candidates": CANDIDATES}
    out.write_text(json.dumps({**found, "batch": BATCH, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
