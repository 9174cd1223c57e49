"""What a model takes of each device's memory, by walking its graph as the compiled code does.

The forward pass keeps what the backward pass reads; then gradients appear and what was kept goes, in the
opposite order. The peak of that walk is what the activations take. Sizes are those of packed values: the
mean number of positions of a batch's examples (lengths).

Promises: for the seven models the sum is within 15 % of the measured peak (tests/plan). Bytes are of
float32 values and int64 ids. Torch's own workspace and what a process takes by itself are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from specc.graph.ir import Graph, Node, Weight, walk
from specc.passes.placement import BYTES, same_everywhere
from specc.plan.lengths import Lengths

Mode = Literal["training", "scoring"]
ALL = "model"  # the device of a model without places

# By rule, how many numbers an optimizer keeps for each weight.
_STATES = {"adam": 2, "adamw": 2, "adagrad": 1, "adadelta": 2, "rmsprop": 1, "sgd": 0}
# Rules that visit only the rows of a batch (specc_runtime.train): no dense gradient of a table.
_BY_ROW = frozenset({"adam", "adamw", "adagrad", "sgd"})

# What the derivative of an operation reads: its inputs, its output, and more numbers a channel of it.
_READS_INPUTS = frozenset(
    [
        "mul",
        "div",
        "pow",
        "dot",
        "linear",
        "project",
        "silu",
        "gelu",
        "log",
        "abs",
        "leaky_relu",
        "prelu",
        "dice",
        "norm",
        "batch_norm",
        "bce",
        "mse",
    ]
)
_READS_OUTPUT = frozenset(["exp", "sqrt", "sigmoid", "tanh", "relu", "softmax", "pow"])
_KEPT_BESIDE = {"dice": 3.0, "batch_norm": 1.0, "dropout": 1.0, "pairs": 2.0, "prelu": 1.25, "softmax": 2.0}
# Views of their input, or indices that the batch has anyway.
_FREE = frozenset({"constant", "index", "length", "rename", "scan_out", "split", "join", "slice"})


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
    def parameters(self) -> int:
        return self.tables + self.weights


def predict(graph: Graph, batch: int, lengths: Lengths, mode: Mode) -> dict[str, Load]:
    """By device name, the memory of a step with `batch` examples, at its peak.

    graph: placed, or without places (then all is on the device `ALL`).
    """
    loads = {
        device: Load(activations=peak) for device, peak in _activations(graph, batch, lengths, mode).items()
    }
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
    return loads


def states(graph: Graph) -> int:
    """How many numbers the spec's optimizer keeps for each weight."""
    optimizer = graph.train.get("optimizer", {})
    number = _STATES.get(optimizer.get("name", "adam"), 2)
    return number + bool(optimizer.get("options", {}).get("momentum"))


def gradient_bytes(graph: Graph, weight: Weight, batch: int, lengths: Lengths) -> int:
    """A weight's gradient: of a table the rows that a batch names (each with its id, before and after equal
    ones are added up), of anything else as large as the weight."""
    size = BYTES * math.prod(weight.shape)
    rule = graph.train.get("optimizer", {}).get("name", "adam")
    if weight.kind != "table" or rule not in _BY_ROW:
        return size
    rows = sum(rows_read(graph, weight.path, batch, lengths))
    return int(rows * (BYTES * weight.shape[1] + 8))


def rows_read(graph: Graph, path: str, batch: int, lengths: Lengths) -> list[float]:
    """For each node that reads a table, how many rows it reads in a batch."""
    return [
        batch * lengths.positions(n.type)
        for n in walk(graph.nodes)
        if path in n.weights and n.op in ("embed", "embed_bag")
    ]


def _homes(graph: Graph) -> dict[str, str]:
    return {path: node.device or ALL for node in walk(graph.nodes) for path in node.weights}


# ---------------------------------------------------------- activations


@dataclass(frozen=True)
class _Trace:
    """What a node's value takes, what is kept of it until its derivative, and what it takes meanwhile."""

    node: Node
    output: float
    kept: float
    meanwhile: float


def _activations(graph: Graph, batch: int, lengths: Lengths, mode: Mode) -> dict[str, int]:
    by_device: dict[str, list[Node]] = {}
    for node in graph.nodes:
        by_device.setdefault(node.device or ALL, []).append(node)
    sizes = {n.id: BYTES * batch * lengths.positions(n.type) * n.type.width for n in graph.nodes}
    for node in graph.nodes:
        if node.op in _FREE or same_everywhere(graph, node):
            sizes[node.id] = 0.0
    learns = _learning(graph)
    peaks = {
        device: _peak(graph, nodes, sizes, learns, batch, lengths, mode)
        for device, nodes in by_device.items()
    }
    inputs = _batch_bytes(graph, batch, lengths)
    return {device: int(peak + inputs) for device, peak in peaks.items()}


def _batch_bytes(graph: Graph, batch: int, lengths: Lengths) -> float:
    """The batch itself, and the index tensors of its rows: about four for each combination of axes."""
    ids = sum(
        8 * batch * lengths.positions(n.type) * (n.type.width / 2 if n.op == "input" else 1)
        for n in graph.nodes
        if n.op in ("embed", "embed_bag", "input")
    )
    combinations = {frozenset(a for a in n.type.axes if a.ragged): n.type for n in graph.nodes}
    rows = sum(
        batch * lengths.positions(replace(t, axes=tuple(a for a in t.axes if a.ragged)))
        for axes, t in combinations.items()
        if axes
    )
    return ids + 4 * 8 * rows


def _learning(graph: Graph) -> set[int]:
    """The nodes that a gradient flows through."""
    found: set[int] = set()
    for node in graph.nodes:
        trained = any(
            not graph.weights[w].frozen and graph.weights[w].kind != "buffer"
            for n in walk((node,))
            for w in n.weights
        )
        if node.op != "stop_gradient" and (trained or any(i in found for i in node.inputs)):
            found.add(node.id)
    return found


def _peak(
    graph: Graph,
    nodes: Iterable[Node],
    sizes: Mapping[int, float],
    learns: set[int],
    batch: int,
    lengths: Lengths,
    mode: Mode,
) -> float:
    nodes = list(nodes)
    last_read = {i: position for position, n in enumerate(nodes) for i in n.inputs}
    ends = set(graph.outputs)
    if mode == "scoring":
        return _scoring_peak(nodes, sizes, last_read, ends, batch, lengths)
    kept_since: dict[object, int] = {}  # a buffer -> the node whose derivative frees it
    buffers: dict[object, float] = {}
    for position, node in enumerate(nodes):
        if node.id not in learns:
            continue
        for key, size in _kept(node, sizes, batch, lengths, learns).items():
            buffers[key] = size
            kept_since.setdefault(key, position)
    kept = sum(buffers.values())
    # Named values are locals of the forward pass: they are there until it returns.
    local = sum(sizes[n.id] for n in nodes if n.id not in buffers)
    highest = kept + local
    gradients: dict[int, float] = {id: sizes[id] for id in ends if id in sizes}
    freed: dict[int, list[object]] = {}
    for key, position in kept_since.items():
        freed.setdefault(position, []).append(key)
    for position in reversed(range(len(nodes))):
        node = nodes[position]
        own = gradients.get(node.id, 0.0)
        if node.id in learns:
            for i in node.inputs:
                if i in learns and i in sizes:
                    gradients[i] = sizes[i]
            meanwhile = _back(node, sizes, batch, lengths)
            highest = max(highest, kept + sum(gradients.values()) + meanwhile)
        kept -= sum(buffers[key] for key in freed.get(position, ()))
        gradients.pop(node.id, own)
    return highest


def _scoring_peak(
    nodes: list[Node],
    sizes: Mapping[int, float],
    last_read: Mapping[int, int],
    ends: set[int],
    batch: int,
    lengths: Lengths,
) -> float:
    alive: dict[int, float] = {}
    highest = 0.0
    for position, node in enumerate(nodes):
        alive[node.id] = sizes[node.id]
        highest = max(highest, sum(alive.values()) + _inside(node, sizes, batch, lengths))
        for i in list(alive):
            if last_read.get(i, position) <= position and i not in ends and nodes[position].name is None:
                alive.pop(i, None)
    return highest


def _kept(
    node: Node, sizes: Mapping[int, float], batch: int, lengths: Lengths, learns: set[int]
) -> dict[object, float]:
    """What the derivative of a node reads, by buffer: an id is that node's value."""
    own = sizes[node.id]
    kept: dict[object, float] = {}
    if node.op in _READS_INPUTS:
        for i in node.inputs:
            wide = _spread(node, i, sizes, batch, lengths)
            if wide:
                kept[i, frozenset(a for a in node.type.axes if a.ragged)] = wide
            elif i in sizes:
                kept[i] = sizes[i]
    if node.op in _READS_OUTPUT:
        kept[node.id] = own
    if node.op in _KEPT_BESIDE:
        kept["beside", node.id] = own * _KEPT_BESIDE[node.op]
    if node.op in ("scan", "recurrence"):
        kept["steps", node.id] = _steps(node, batch, lengths) + sum(sizes.get(i, 0.0) for i in node.inputs)
        kept[node.id] = own
    if node.op == "attention":
        kept["blocks", node.id] = 1.1 * (sum(sizes.get(i, 0.0) for i in node.inputs) + own)
    return kept


def _spread(node: Node, input: int, sizes: Mapping[int, float], batch: int, lengths: Lengths) -> float:
    """The bytes of an input that is repeated at the rows of a node, 0 if it has them already."""
    rows = replace(node.type, axes=tuple(a for a in node.type.axes if a.ragged), width=1)
    if node.op == "dot":
        return 0.0
    size = BYTES * batch * lengths.positions(rows)
    have = sizes.get(input, 0.0)
    width = node.type.width if node.op not in ("linear", "project") else 0
    return size * width if 0 < have < size else 0.0


def _steps(node: Node, batch: int, lengths: Lengths) -> float:
    """What the steps of a recurrence keep: every value of the region, at each position."""
    region = node.region
    assert region is not None
    positions = batch * lengths.positions(node.type)
    width = sum(n.type.width for n in region.nodes if n.op not in _FREE | {"capture", "state"})
    return BYTES * positions * width


def _inside(node: Node, sizes: Mapping[int, float], batch: int, lengths: Lengths) -> float:
    """What an operation takes for itself on the way forward."""
    if node.op in ("scan", "recurrence", "attention"):
        return sum(sizes.get(i, 0.0) for i in node.inputs)
    if node.op in _KEPT_BESIDE:
        return sizes[node.id] * _KEPT_BESIDE[node.op]
    return 0.0


def _back(node: Node, sizes: Mapping[int, float], batch: int, lengths: Lengths) -> float:
    """What the derivative of an operation takes for itself."""
    if node.op in ("scan", "recurrence"):
        return 2 * _steps(node, batch, lengths)
    if node.op == "attention":
        return 1.1 * sum(sizes.get(i, 0.0) for i in node.inputs)
    return sizes[node.id]
