"""The compiled models: bench/specs/*_sized.arec restate the sizes of the shipped specs.

`arec:none` compiles without passes, `arec:-distribute` without one of them, `arec:compile` runs the module
through torch.compile, `arec:torch` has no kernels in C. Scores are those of a model of its own, of whose
rows none has missed a step: one call of C, as `specc_runtime.score.Scorer` has them, but for the last two.
Tables are trained lazily, as in `adam(lazy = true)`; those of `arec:exact` as recipes have them unless they
say otherwise, and those of `arec:dense` as a whole.

Steps have other rows each time, in turns: the next time that a row is read, it has missed some.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import count, cycle
from math import prod
from pathlib import Path
from typing import Any

import torch

import specc
from bench.contender import Contender
from bench.tasks import FIELDS, Task
from specc.devices import Placement
from specc.passes import DEFAULT
from specc_runtime import Bag, Batch, Model, Schema
from specc_runtime.feed import feed
from specc_runtime.train.lazy import build_optimizer, take_gradients

SPECS = Path(__file__).parents[1] / "specs"
ADAM = {"lr": 1e-3}
PACKAGE = ""
TABLES = {"dense": "dense", "exact": "exact"}
# Batches that training goes through: of tables alone, more rows than a processor's caches hold.
BATCHES, BATCHES_OF_TABLES = 4, 32


def build(task: Task, variant: str = "") -> Contender:
    if variant == "torch":
        os.environ["AREC_NATIVE"] = "0"
    model = compiled(task, variant)
    served = model if task.rows else compiled(task, variant).eval()  # tables alone are trained only
    with torch.device("cpu"):
        batches = [batch_of(model, task) for _ in range(BATCHES_OF_TABLES if task.rows else BATCHES)]
    turn = feed(((fresh(batch), None) for batch in cycle(batches)), model)
    scored = feed(((fresh(batches[0]), None) for _ in count()), served)
    optimizer = build_optimizer(model, "adam", ADAM, tables=TABLES.get(variant, "lazy"))
    take_gradients(optimizer)  # as in `specc train`
    if variant == "compile":
        for each in (model, served):
            each.values = torch.compile(each.values, dynamic=True)  # type: ignore[method-assign, operator]
    else:
        served.score_in_c()
    # Where rows are belongs to the step: a batch is fresh each time.
    made = Contender.of(model, lambda: model.loss(next(turn)[0]), lambda: served(next(scored)[0]), optimizer)
    made = replace(made, numbers=numbers(model, batches[0]))
    if variant != "dense" and task.trains:
        for _ in batches:
            made.train()
    return made


def compiled(task: Task, variant: str = "") -> Model:
    device = torch.get_default_device()
    everywhere = None if device.type == "cpu" else Placement(everywhere=str(device))
    return specc.compile(text_of(task), passes=passes_of(variant), placement=everywhere, **params_of(task))


def spec_of(task: Task) -> Path:
    return SPECS / f"{task.model}_sized.arec"


def text_of(task: Task) -> Path | str:
    """The spec of a task, in which AFM has as many fields as it is to have."""
    if task.fields == FIELDS:
        return spec_of(task)
    lines = spec_of(task).read_text().splitlines()
    last = next(n for n, line in enumerate(lines) if line.strip().startswith(f"f{FIELDS - 1}:"))
    more = [lines[last].replace(f"f{FIELDS - 1}:", f"f{n}:") for n in range(FIELDS, task.fields)]
    return "\n".join([*lines[: last + 1], *more, *lines[last + 1 :]])


def params_of(task: Task) -> dict[str, Any]:
    """What a task tells its spec."""
    if task.rows:
        return {"rows": task.rows}
    params: dict[str, Any] = {"longest": task.bound} if task.model in ("bst", "din", "dien") else {}
    if task.width:
        params["k" if task.model == "afm" else "dim"] = task.width
    if task.width and task.model == "atrank":
        params["common"] = 2 * task.width
    if task.pooling != "target":
        params["pooling"] = task.pooling
    return params | ({"sizes": list(task.head)} if task.small_head else {})


def passes_of(variant: str) -> str | list[str]:
    if variant.startswith("-"):
        return [name for name in DEFAULT if name != variant[1:]]
    return "none" if variant == "none" else "default"


def numbers(model: Model, batch: Batch) -> int:
    """How many numbers of weights a batch reads: all of the layers, and of tables the rows that it names."""
    weights = {w["path"]: w["shape"] for w in model.manifest["weights"]}
    named: dict[str, list[torch.Tensor]] = {}
    for field in model.manifest["fields"]:
        if field["table"] is not None:
            read = batch.fields[field["path"]]
            named.setdefault(field["table"], []).append(read.values if isinstance(read, Bag) else read)
    layers = sum(prod(shape) for path, shape in weights.items() if path not in named)
    return layers + sum(len(torch.cat(ids).unique()) * weights[table][1] for table, ids in named.items())


def fresh(batch: Batch) -> Batch:
    """The same tensors as a batch that nothing is known about yet."""
    fields = {path: replace(x) if isinstance(x, Bag) else x for path, x in batch.fields.items()}
    return replace(batch, fields=fields)


def batch_of(model: Model, task: Task) -> Batch:
    """Examples for any model, of the task's lengths."""
    manifest = model.manifest
    schema = Schema.of(manifest)
    lengths: dict[str, torch.Tensor] = {}
    size = 1 if task.candidates else task.batch
    candidates = torch.tensor([task.candidates]) if task.candidates else None
    for axis in manifest["axes"]:
        rows = size if axis["parent"] is None else int(lengths[axis["parent"]].sum())
        # A session that is there has a step.
        lengths[axis["id"]] = task.lengths(rows, axis["bound"], 1 if axis["parent"] else None)
    batch = Batch(schema, size, {}, lengths, candidates=candidates)
    fields: dict[str, torch.Tensor | Bag] = {}
    for field in manifest["fields"]:
        count = batch.layout[schema.fields[field["path"]]].count
        fields[field["path"]] = values(field, count, task, model)
    labels = {
        p["name"]: task.ids(p["classes"], task.batch) if p["kind"] == "class" else task.labels()
        for p in manifest["predictions"]
    }
    return Batch(schema, size, fields, lengths, {} if task.candidates else labels, candidates)


def values(field: dict[str, Any], count: int, task: Task, model: Model) -> torch.Tensor | Bag:
    if field["table"] is None:
        return torch.rand(count, field["width"], generator=task._random)
    rows = next(w["shape"][0] for w in model.manifest["weights"] if w["path"] == field["table"])
    if field["encoding"] == "bag":
        sizes = torch.ones(count, dtype=torch.int64)
        return Bag(task.ids(rows, count), sizes)
    return task.ids(rows, count)
