"""The compiled models: bench/specs/*.arec restate the sizes of the shipped specs, no more.

`arec:none` compiles without passes, `arec:-distribute` without one of them, `arec:compile` runs the
module through torch.compile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import specc
from bench.contender import Contender
from bench.tasks import Task
from specc_runtime import Bag, Batch, Model, Schema

SPECS = Path(__file__).parents[1] / "specs"


def build(task: Task, variant: str = "") -> Contender:
    model = compiled(task, variant)
    batch = batch_of(model, task)
    forward: Any = torch.compile(model, dynamic=True) if variant == "compile" else model
    if variant == "compile":

        def loss() -> torch.Tensor:
            logit = forward(batch)["click"]
            return torch.nn.functional.binary_cross_entropy_with_logits(logit, batch.labels["click"])

        return Contender.of(model, loss, lambda: forward(batch))

    def loss() -> torch.Tensor:
        # Where rows are belongs to the step: a batch is fresh each time.
        return model.loss(fresh(batch))

    return Contender.of(model, loss, lambda: model(fresh(batch)))


def compiled(task: Task, variant: str = "") -> Model:
    from specc.passes import DEFAULT

    passes: Any = "default"
    if variant == "none":
        passes = "none"
    elif variant.startswith("-"):
        passes = [name for name in DEFAULT if name != variant[1:]]
    params = {"bound": task.bound} if task.model == "bst" else {}
    return specc.compile(SPECS / f"{task.model}.arec", passes=passes, **params)


def fresh(batch: Batch) -> Batch:
    """The same tensors as a batch that nothing is known about yet."""
    return batch.to(batch.device)


def batch_of(model: Model, task: Task) -> Batch:
    """Examples for any model, of the task's lengths."""
    manifest = model.manifest
    schema = Schema.of(manifest)
    lengths: dict[str, torch.Tensor] = {}
    for axis in manifest["axes"]:
        rows = task.batch if axis["parent"] is None else int(lengths[axis["parent"]].sum())
        lengths[axis["id"]] = task.lengths(rows, axis["bound"])
    batch = Batch(schema, task.batch, {}, lengths)
    fields: dict[str, torch.Tensor | Bag] = {}
    for field in manifest["fields"]:
        count = batch.layout[schema.fields[field["path"]]].count
        fields[field["path"]] = values(field, count, task, model)
    labels = {
        p["name"]: task.ids(p["classes"], task.batch) if p["kind"] == "class" else task.labels()
        for p in manifest["predictions"]
    }
    return Batch(schema, task.batch, fields, lengths, labels)


def values(field: dict[str, Any], count: int, task: Task, model: Model) -> torch.Tensor | Bag:
    if field["table"] is None:
        return torch.rand(count, field["width"], generator=task._random)
    rows = next(w["shape"][0] for w in model.manifest["weights"] if w["path"] == field["table"])
    if field["encoding"] == "bag":
        sizes = torch.ones(count, dtype=torch.int64)
        return Bag(task.ids(rows, count), sizes)
    return task.ids(rows, count)
