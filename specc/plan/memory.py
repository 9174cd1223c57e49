"""The memory that a model takes on each device, from its graph alone.

Weights, gradients and the optimizer's state follow from their shapes; activations are the rest of the peak
of a step (activations). Sizes are those of packed values: the mean number of positions of a batch's examples
(lengths).

Promises: for the seven models the sum is within 5 % of the most that torch holds (bench.memory, tests/plan).
Bytes are of float32 values and int64 ids. Not counted are what the allocator adds (`Load.added`), the
workspace of torch's libraries, and what a process takes by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from specc.ir.graph import Graph, Weight, fields_of, readings, walk
from specc.lower import lower
from specc.ops import op
from specc.passes.placement import BYTES
from specc.plan.activations import ALL, distinct, index_bytes, peaks
from specc.plan.costs import Sizes
from specc.plan.lengths import Lengths

Mode = Literal["training", "scoring"]

# By rule, how many numbers an optimizer keeps for each weight.
_STATES = {"adam": 2, "adamw": 2, "adagrad": 1, "adadelta": 2, "rmsprop": 1, "sgd": 0}
# Rules that visit only the rows of a batch (specc_runtime.train): no dense gradient of a table.
_BY_ROW = frozenset({"adam", "adamw", "adagrad", "sgd"})


# What glibc's malloc adds to gradients and activations, as a share of them, the least and the most: measured
# over ten steps of DIN and ATRank, every history at its bound (docs/devices.md, bench.memory --process).
ALLOCATOR = (0.3, 1.0)


@dataclass(frozen=True)
class Load:
    """Bytes on one device."""

    tables: int = 0
    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0

    @property
    def total(self) -> int:
        return self.tables + self.weights + self.gradients + self.optimizer + self.activations

    @property
    def added(self) -> tuple[int, int]:
        """Return the bytes that the allocator of a process on a CPU adds: the least and the most."""
        moving = self.gradients + self.activations
        least, most = ALLOCATOR
        return int(least * moving), int(most * moving)

    @property
    def parameters(self) -> int:
        return self.tables + self.weights


def predict(graph: Graph, batch: int, lengths: Lengths, mode: Mode) -> dict[str, Load]:
    """Return by device name the memory of a step with `batch` examples, at its peak.

    graph: placed, or without places (then all is on the device `ALL`).
    """
    by_row = {path: goes_by_row(graph, w) for path, w in graph.weights.items()}
    found = peaks(lower(graph), Sizes(batch, lengths), mode == "training", by_row)
    loads = {device: Load() for device in found}
    for path, device in _homes(graph).items():
        weight = graph.weights[path]
        size = BYTES * math.prod(weight.shape)
        load = loads.get(device, Load())
        if weight.kind == "table":
            load = replace(load, tables=load.tables + size)
        else:
            load = replace(load, weights=load.weights + size)
        if mode == "training" and weight.kind != "buffer" and not weight.frozen:
            load = replace(
                load,
                gradients=load.gradients + gradient_bytes(graph, weight, batch, lengths),
                optimizer=load.optimizer + size * states(graph),
            )
        loads[device] = load
    # Index tensors are on the device that reads them; ids and numbers are sent to each.
    index = _index(graph, batch, lengths, mode)
    batches = _columns(graph, batch, lengths)
    return {
        device: replace(
            load,
            activations=int(
                max(found.get(device, 0.0) - load.gradients, 0.0) + batches + index.get(device, 0.0)
            ),
        )
        for device, load in loads.items()
    }


def batch_bytes(graph: Graph, batch: int, lengths: Lengths, mode: Mode) -> float:
    """Return the bytes of a batch of a model without places: ids, numbers and index tensors."""
    return _columns(graph, batch, lengths) + sum(_index(graph, batch, lengths, mode).values())


def _index(graph: Graph, batch: int, lengths: Lengths, mode: Mode) -> dict[str, float]:
    return index_bytes(lower(graph), Sizes(batch, lengths), mode == "training")


def _columns(graph: Graph, batch: int, lengths: Lengths) -> float:
    seen: dict[str, float] = {}
    for node in graph.nodes:
        for path in fields_of(node):
            channels = node.type.width / 2 if node.op == op.INPUT else 1
            seen[path] = 8 * channels * batch * lengths.positions(node.type)
    return sum(seen.values())


def states(graph: Graph) -> int:
    """Return how many numbers the spec's optimizer keeps for each weight."""
    optimizer = graph.train.get("optimizer", {})
    number = _STATES.get(optimizer.get("name", "adam"), 2)
    return number + bool(optimizer.get("options", {}).get("momentum"))


def gradient_bytes(graph: Graph, weight: Weight, batch: int, lengths: Lengths) -> int:
    """Return the bytes of a weight's gradient: of a table that goes by row the distinct rows that a batch
    reads, each with its id; of anything else those of the weight."""
    if not goes_by_row(graph, weight):
        return BYTES * math.prod(weight.shape)
    rows = distinct(sum(rows_read(graph, weight.path, batch, lengths)), weight.shape[0])
    return int(rows * (BYTES * weight.shape[1] + 8))


def goes_by_row(graph: Graph, weight: Weight) -> bool:
    """Return whether a weight is a table whose gradient holds only the rows of a batch."""
    optimizer = graph.train.get("optimizer", {})
    by_row = optimizer.get("name", "adam") in _BY_ROW and not optimizer.get("options", {}).get("momentum")
    return weight.kind == "table" and by_row


def rows_read(graph: Graph, path: str, batch: int, lengths: Lengths) -> list[float]:
    """Return for each field that is looked up in a table how many rows that reads in a batch."""
    return [
        batch * lengths.positions(n.type) for n in walk(graph.nodes) for r in readings(n) if r.table == path
    ]


def _homes(graph: Graph) -> dict[str, str]:
    return {path: node.device or ALL for node in walk(graph.nodes) for path in node.weights}
