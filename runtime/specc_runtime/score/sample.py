"""Requests without data: for what is done once, and timed, before a request comes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from specc_runtime.batch import Bag, Batch, Schema
from specc_runtime.encode import Encoders
from specc_runtime.encode.reading import encoding_of


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


def sample_request(encoders: Encoders, candidates: int | None, length: int, seed: int) -> dict[str, Any]:
    """A request of known keys, and of numbers that are drawn, by column. Columns may lack values that the
    model needs, or have some that it takes for faulty: what is common to all encodings is here."""
    draw, found = random.Random(f"no request in particular, {seed}"), dict[str, Any]()
    bounds = {axis["id"]: axis["bound"] for axis in encoders.manifest["axes"]}
    for entry in encoders.manifest["fields"]:
        if entry.get("training") or entry["column"] in found:
            continue
        sizes = [candidates] if candidates is not None and entry["role"] == "candidate" else []
        sizes += [min(bounds[axis], length) for axis in entry["axes"]]
        sizes += [1] if entry["encoding"] == "bag" else []
        sizes += [entry["options"]["n"]] if entry["encoding"] == "vector" else []
        found[entry["column"]] = _drawn(entry, encoders, draw, sizes)
    return found


def _drawn(entry: Mapping[str, Any], encoders: Encoders, draw: random.Random, sizes: list[int]) -> Any:
    if sizes:
        return [_drawn(entry, encoders, draw, sizes[1:]) for _ in range(sizes[0])]
    encoding, options = encoding_of(entry)
    vocabulary = encoders.vocabularies.get(entry["vocabulary"])
    if vocabulary is not None and len(vocabulary.keys):
        return vocabulary.keys[draw.randrange(len(vocabulary.keys))].as_py()
    if encoding == "time" or options.get("time") or entry["options"].get("time"):
        return draw.randrange(1_500_000_000, 1_700_000_000)
    if entry["table"] is not None and encoding != "bucket":
        return draw.randrange(options.get("n", 1000))
    return draw.randrange(1000) if encoding == "key" else draw.random()
