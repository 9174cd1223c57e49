"""What several processes find of trainings with divided tables, started once for all of them.

`python -m tests.scale.shards FOLDER` in each process, as tests.scale.pair is started.
"""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from specc.driver import load
from specc.testing.subject import Subject
from specc_runtime import Model, ranks
from specc_runtime.train import planned
from specc_runtime.train.divided import Division, divide
from specc_runtime.train.sharded import Sharded, sharded
from tests.scale.pair import (
    RECIPES,
    answer,
    batches,
    counted,
    cut,
    learn,
    off,
    own,
    stopped,
    trained,
    undrawn,
)

# Divided tables are in single precision, the rest of these models is not: where a training diverges, rounding
# grows with it.
OWN = {"adagrad": replace(RECIPES["adagrad"], options={"lr": 0.005, "eps": 1e-3})}


def whole(model: Model, source: Sharded, joined: ranks.Ranks) -> dict[str, Tensor]:
    """All weights of a model, in the first process; in the others the layers' alone."""
    found = {path: value.clone() for path, value in model.state_dict().items()}
    if not joined.first:
        source.follow()
        return found
    with source.leading():
        return found | {path: torch.cat([*source.pieces(path)]) for path in source.shapes}


def compared(case: dict[str, Any], joined: ranks.Ranks) -> dict[str, Any]:
    """How far weights, and losses, with divided tables are from those of one process, and how each table was
    held."""
    graph, report = load(Path(case["path"]), {})
    assert graph is not None, report
    subject = Subject.of(cut(graph), 5)
    model, recipe = subject.model, OWN.get(case["rule"], RECIPES[case["rule"]])
    counted(model)
    twin = copy.deepcopy(model)
    some = batches(subject.manifest)
    paths = Division.of(model.manifest, "sharded").paths
    if not paths:
        return {"weights": 0.0, "losses": 0.0, "plan": []}
    with ranks.apart():
        wanted, losses = trained(twin, some, recipe)
    divide(model, paths)
    kinds = planned._kinds
    if case.get("kind"):
        planned._kinds = lambda wide, rowwise: [case["kind"]]
    try:
        with sharded(model, recipe) as source:
            assert source is not None
            source.begin()
            mine = [own(batch, step, joined.number) for step, batch in enumerate(some)]
            _, seen = trained(model, mine, recipe)
            found = whole(model, source, joined)
    finally:
        planned._kinds = kinds
    far = off({p: w.to(wanted[p]) for p, w in found.items()}, {p: wanted[p] for p in found})
    assert not joined.first or found.keys() == wanted.keys()
    apart = max(abs(a - b) / (1 + abs(b)) for a, b in zip(seen, losses, strict=True))
    return {"weights": far, "losses": apart, "plan": source.plan}


def compare_all(cases: list[dict[str, Any]], joined: ranks.Ranks) -> dict[str, dict[str, Any]]:
    with undrawn():
        return {case["name"]: compared(case, joined) for case in cases}


def train_all(folder: Path) -> dict[str, Any]:
    """Of two processes: a whole training, one whose spec divides its table, and those that stop."""
    data = folder / "data"
    learn(folder / "small.arec", data, folder / "two", tables="sharded", test=[data / "test.parquet"])
    said: list[str] = []
    learn(folder / "placed.arec", data, folder / "placed", tell=said.append)
    return {"placed": said, **stopped(folder, tables="sharded")}


if __name__ == "__main__":
    answer(Path(sys.argv[1]), compare_all, train_all, tables="sharded")
