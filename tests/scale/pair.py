"""What several processes find of many models and trainings, started once for all of them.

`python -m tests.scale.pair FOLDER` in each process; FOLDER/asked.json has what is asked, and the first two
write FOLDER/found-0.json and found-1.json. Two of three processes train on parts of batches, and compare the
weights with those of one process that trains on whole ones; then all three go on with what they have begun.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import specc
from specc.driver import load
from specc.ir.graph import Graph
from specc.testing.batches import random_batch
from specc.testing.subject import ROWS, Subject
from specc_runtime import Batch, Model, ops, ranks
from specc_runtime.data.select import part
from specc_runtime.encode.labels import of_requests
from specc_runtime.train import Interrupted, Progress, Recipe, fit
from specc_runtime.train.checkpoint import State
from specc_runtime.train.loop import _step

STEPS, SIZE = 10, 7
RECIPES = {
    "sgd": Recipe(optimizer="sgd", options={"lr": 0.01}),  # with more, some of the models diverge
    "adagrad": Recipe(optimizer="adagrad", options={"lr": 0.05, "eps": 1e-3}),
    "adam": Recipe(optimizer="adam", options={"lr": 0.01, "eps": 1e-3}, clip=1.0),
}


# ------------------------------------------------------------------ the same weights as one process


def batches(manifest: dict[str, Any]) -> list[Batch]:
    requests = of_requests(manifest)
    found = [
        random_batch(manifest, SIZE, seed, longest=5, candidates=requests, unlabelled=0.2)
        for seed in range(STEPS)
    ]
    shapes = {w["path"]: w["shape"][0] for w in manifest["weights"]}
    for entry in manifest["predictions"]:
        if entry.get("rows"):  # classes are the rows of a table, which is cut
            first, rows = entry["rows"]["first"], shapes[entry["rows"]["table"]]
            for batch in found:
                label = batch.labels[entry["name"]]
                label.copy_(torch.where(label < 0, label, first + label % (rows - first)))
    return found


def own(batch: Batch, step: int, number: int) -> Batch:
    """A process's part: of some steps nothing."""
    cut = (3, 0, SIZE, 5, 1)[step % 5]
    return part(batch, *((0, cut) if number == 0 else (cut, SIZE)))


def cut(graph: Graph) -> Graph:
    """A graph whose weights have as few rows as the tables that they are of."""
    weights = dict(graph.weights)
    for prediction in graph.predictions:
        if prediction.rows is not None:
            for path in (prediction.rows.counts, prediction.rows.bias):
                if path is not None:
                    weights[path] = replace(weights[path], shape=(min(weights[path].shape[0], ROWS),))
    return replace(graph, weights=weights)


def counted(model: Model) -> None:
    """Tell tables with a penalty by frequency how often their rows occur."""
    for entry in model.manifest["weights"]:
        if entry["l2_by_frequency"]:
            model.set_row_counts(entry["path"], 1 + torch.arange(entry["shape"][0]) % 5)


def trained(model: Model, some: list[Batch], recipe: Recipe) -> tuple[dict[str, Tensor], list[float]]:
    torch.manual_seed(0)
    model.train()
    optimizer = recipe.build(model)
    losses = []
    for batch in some:
        with model.fetched(batch):
            loss, size, number = _step(model, optimizer, batch, recipe, State(), lambda: None)
        assert (size, number) == (SIZE, 0)
        losses.append(loss)
    model.eval()
    return {path: value.clone() for path, value in model.state_dict().items()}, losses


def off(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The largest difference, relative to the largest number of a weight."""
    assert found.keys() == wanted.keys()
    return max(
        float((found[p] - w).abs().max() / (w.abs().max() + 1e-9)) for p, w in wanted.items() if w.numel()
    )


def compared(path: Path, rule: str, joined: ranks.Ranks) -> float:
    """How far the weights and losses of parts of batches are from those of whole ones."""
    graph, report = load(path, {})
    assert graph is not None, report
    subject = Subject.of(cut(graph), 5)
    model = subject.model
    counted(model)
    twin = copy.deepcopy(model)
    some = batches(subject.manifest)
    with ranks.apart():
        wanted, losses = trained(twin, some, RECIPES[rule])
    mine = [own(batch, step, joined.number) for step, batch in enumerate(some)]
    found, seen = trained(model, mine, RECIPES[rule])
    return max(off(found, wanted), *(abs(a - b) / (1 + abs(b)) for a, b in zip(seen, losses, strict=True)))


@contextmanager
def undrawn() -> Iterator[None]:
    """Draw nothing for an example: that differs, as each process draws for its own."""
    with (
        mock.patch.object(torch.nn.functional, "dropout", lambda x, *_, **__: x),
        mock.patch.object(ops, "bernoulli", lambda p, training: p.round()),
    ):
        yield


def compare_all(cases: list[dict[str, str]], joined: ranks.Ranks) -> dict[str, float]:
    with undrawn():
        return {c["name"]: compared(Path(c["path"]), c["rule"], joined) for c in cases}


# ------------------------------------------------------------------ whole trainings


def learn(
    spec: Path, data: Path, directory: Path, watch: Callable[[Progress], None] = lambda _: None, **more: Any
) -> None:
    torch.manual_seed(0)
    model = specc.compile(spec)
    recipe = replace(Recipe.of(model.manifest), every=3)
    fit(
        model, [data / "train.parquet"], directory, recipe, valid=[data / "test.parquet"], watch=watch, **more
    )


def until(step: int) -> Callable[[Progress], None]:
    """Interrupt a training after a step of its second epoch."""

    def watch(progress: Progress) -> None:
        if progress.epoch == 2 and progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return watch


def stopped(folder: Path, **more: Any) -> dict[str, Any]:
    """Of two processes: a training that is interrupted, one that meets a faulty number. more: of `fit`."""
    found: dict[str, Any] = {}
    try:
        learn(folder / "small.arec", folder / "data", folder / "begun-1", until(5), **more)
    except Interrupted as interrupted:
        found["interrupted"] = interrupted.number
    if int(os.environ["RANK"]) == 0:
        shutil.copytree(folder / "begun-1", folder / "begun-3")
    try:
        learn(folder / "broken.arec", folder / "broken", folder / "no", **more)
    except RuntimeError as error:
        found["fault"] = f"{type(error).__name__}: {error}"
    return found


def train_all(folder: Path) -> dict[str, Any]:
    """Of two processes: a whole training, and those that stop."""
    learn(folder / "small.arec", folder / "data", folder / "two")
    return stopped(folder)


# ------------------------------------------------------------------ the processes


@contextmanager
def several(count: int, port: int) -> Any:
    """Join as many processes as there are, or none for those beyond."""
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_PORT": str(port)}
    with ranks.joined() if int(os.environ["RANK"]) < count else nullcontext() as joined:
        yield joined


def answer(
    folder: Path,
    compare: Callable[[list[dict[str, Any]], ranks.Ranks], dict[str, Any]],
    train: Callable[[Path], dict[str, Any]],
    **more: Any,
) -> None:
    """Compare and train what is asked in two processes, and go on in three. more: of `fit`, there."""
    asked = json.loads((folder / "asked.json").read_text())
    number = int(os.environ["RANK"])
    with several(2, asked["ports"][0]) as joined:
        if joined is not None:
            found = {"cases": compare(asked["cases"], joined), **train(folder)}
            (folder / f"found-{number}.json").write_text(json.dumps(found))
    while not (folder / "found-0.json").is_file():
        time.sleep(0.05)
    with several(3, asked["ports"][1]):
        learn(folder / "small.arec", folder / "data", folder / "begun-3", resume=True, **more)


if __name__ == "__main__":
    answer(Path(sys.argv[1]), compare_all, train_all)
