"""Batches of one request without data: for what is done once, and timed, before a request comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from specc_runtime.batch import Bag, Batch, Schema


def sample(schema: Schema, manifest: Mapping[str, Any], candidates: int | None, length: int) -> Batch:
    """A batch of one request, so many positions long, of rows of the tables and of numbers that are drawn,
    the same each time."""
    source = torch.Generator().manual_seed(0)
    sizes = {weight["path"]: weight["shape"][0] for weight in manifest["weights"] if weight["shape"]}
    counts = None if candidates is None else torch.tensor([candidates])
    batch = Batch(schema, 1, {}, {}, {}, counts)
    lengths: dict[str, Tensor] = {}
    for id, axis in schema.axes.items():
        rows = replace(batch, lengths=lengths).layout[() if axis.parent is None else axis.parent].count
        lengths[id] = torch.full((rows,), min(axis.bound, length))
    layout = replace(batch, lengths=lengths).layout
    fields: dict[str, Tensor | Bag] = {}
    for entry in (*manifest["fields"], *manifest.get("crosses", ())):
        if entry.get("training"):
            continue
        rows = layout[schema.fields[entry["path"]]].count
        encoding = entry.get("encoding")  # a cross has none
        if encoding == "key":
            value: Tensor | Bag = torch.zeros(rows, 1, dtype=torch.int64)
        elif entry.get("table") is not None:
            value = torch.randint(sizes.get(entry["table"], 1), (rows,), generator=source)
            if encoding == "bag":
                weights = torch.ones(rows) if "weight" in entry["options"] else None
                value = Bag(value, torch.ones(rows, dtype=torch.int64), weights)
        else:
            width = entry["options"].get("n", 1) if encoding == "vector" else 1
            value = torch.randn(rows, width, generator=source)
        fields[entry["path"]] = value
    return replace(batch, lengths=lengths, fields=fields)
