"""The memory of one step over time: a walk through a graph as the compiled model and torch's derivatives go.

On the way there, a value is there as long as something reads it, a local of the emitted function holds it,
or a derivative will read it; on the way back gradients come and what was kept goes, in the opposite order.
The highest point is what a step takes.

Promises: bytes above the weights and the optimizer's state, by device. Leaves what an operation keeps to
`costs`, and sums by kind to `memory`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from specc.emit.body import Lying
from specc.emit.module import lying_of
from specc.ir.graph import Graph, Node, Weight, readings, walk
from specc.passes.placement import BYTES
from specc.plan.costs import VIEWS, Cost, Sizes, cost, rows_kept
from specc.types.axis import Axis

ALL = "model"  # the device of a model without places

# A value, or a value repeated at the rows of other axes.
Key = int | tuple[int, frozenset[Axis]]
# Values that are made on the spot, or that are weights themselves.
_WITHOUT_ROWS = frozenset({"constant", "learned"})
# Of all their inputs, only those at the rows of their own are read (loops and attention sort themselves out).
_AS_THEY_ARE = frozenset(
    {"attention", "paired", "recurrence", "scan", "tiled", "weighted_sum", *VIEWS} - {"stop_gradient"}
) | frozenset({"init", "tail", "append", "take", "top", "flatten", "transfer"})
# An optimizer by row moves so many numbers of each tensor at once (specc_runtime.train.rowwise).
_PIECE = 2**16
_ROW_TENSORS = {"sgd": 1, "adagrad": 3, "adam": 3, "adamw": 3}
_DENSE_COPIES = 2
_INDEX = 8
# The ids that are looked up, put together, sorted, with their order, and where each row begins.
_SORTED = 4


@dataclass(eq=False)
class Buffer:
    device: str
    bytes: float
    holders: int = 0


@dataclass
class Memory:
    """What is held on each device, and the most that was."""

    now: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)

    def hold(self, buffer: Buffer) -> Buffer:
        if not buffer.holders:
            self.now[buffer.device] = self.now.get(buffer.device, 0.0) + buffer.bytes
            self._mark(buffer.device, 0.0)
        buffer.holders += 1
        return buffer

    def release(self, buffer: Buffer) -> None:
        buffer.holders -= 1
        if not buffer.holders:
            self.now[buffer.device] -= buffer.bytes

    def need(self, device: str, bytes_: float) -> None:
        """Bytes that are needed for a moment."""
        self._mark(device, bytes_)

    def _mark(self, device: str, more: float) -> None:
        there = self.now.get(device, 0.0) + more
        self.peak[device] = max(self.peak.get(device, 0.0), there)


@dataclass
class _Done:
    """A step on the way there that has a way back."""

    key: Key
    node: Node
    inputs: tuple[tuple[int, Key], ...]  # each input, and as what it was read
    kept: list[Buffer]
    cost: Cost


def peaks(graph: Graph, sizes: Sizes, training: bool, by_row: Mapping[str, bool]) -> dict[str, float]:
    """By device, the most that is held at one time. by_row: of the tables, whose gradients are rows."""
    return _Walk(graph, sizes, training, by_row).run()


class _Walk:
    def __init__(self, graph: Graph, sizes: Sizes, training: bool, by_row: Mapping[str, bool]) -> None:
        self.graph = graph
        self.sizes = sizes
        self.training = training
        self.by_row = by_row
        self.memory = Memory()
        self.learns = learning(graph) if training else set()
        self.buffers: dict[Key, Buffer] = {}
        self.done: list[_Done] = []
        self.weights: dict[str, Buffer] = {}
        self.lying = _lying(graph)

    def run(self) -> dict[str, float]:
        index = {n.id: n for n in self.graph.nodes}
        predicted = _needed(index, self.graph.given)
        lost = _needed(index, (x.node for x in self.graph.losses)) - predicted if self.training else set()
        self._rows(predicted | lost)
        further = {i for id in lost for i in index[id].inputs} | set(self.graph.outputs)
        self._function([n for n in self.graph.nodes if n.id in predicted], further)
        self._function([n for n in self.graph.nodes if n.id in lost], set(self.graph.outputs))
        if self.training:
            self._penalties()
            self._back()
            self._optimise()
        return self.memory.peak

    def _rows(self, needed: set[int]) -> None:
        """Index tensors: they are there as long as the batch is."""
        domains: dict[str, set[frozenset[Axis]]] = {}
        for node in self.graph.nodes:
            if node.id in needed and (domain := self.sizes.domain(node)):
                domains.setdefault(_device(node), set()).add(domain)
        for device, there in domains.items():
            self.memory.hold(Buffer(device, rows_kept(self.sizes, there)))

    # -------------------------------------------------------------- forward

    def _function(self, nodes: list[Node], further: set[int]) -> None:
        """The statements of one emitted function. further: values that are read after it."""
        left = Counter(i for n in nodes for i in n.inputs)
        named: list[Buffer] = []
        inside = {n.id for n in nodes}
        for node in nodes:
            self._forward(node, named)
            buffer = self.memory.hold(self.buffers[node.id])
            if node.id in self.lying.named or node.id in further or not left[node.id]:
                named.append(buffer)
            for i in node.inputs:
                left[i] -= 1
                if not left[i] and i in inside and i not in self.lying.named and i not in further:
                    self.memory.release(self.buffers[i])
        for buffer in named:
            self.memory.release(buffer)

    def _forward(self, node: Node, named: list[Buffer]) -> None:
        """Compute a value, and keep what its derivative reads."""
        device, sizes = _device(node), self.sizes
        domain = sizes.domain(node)
        inputs = tuple((i, self._read(i, node, domain, named)) for i in node.inputs)
        found = cost(node, sizes, self.learns, self.training)
        if inputs and (node.op in VIEWS or (node.op == "dropout" and not self.training)):
            self.buffers[node.id] = self.buffers[inputs[0][1]]
        elif node.id in self.lying.over:
            place = self.lying.over[node.id]
            self.buffers[node.id] = next(self.buffers[key] for i, key in inputs if i == place)
        elif node.id in self.lying.nowhere:
            self.buffers[node.id] = Buffer(device, 0.0)
        else:
            own = 0.0 if node.op in _WITHOUT_ROWS and domain is None else sizes.value(node)
            self.buffers[node.id] = Buffer(device, own)
        whole = self.buffers[node.id]
        self.memory.need(device, found.during + found.beside + (0.0 if whole.holders else whole.bytes))
        if node.id in self.learns:
            kept = [self.buffers[key] for i, key in inputs if i in found.inputs]
            kept += [whole] if found.output else []
            kept += [Buffer(device, found.beside)] if found.beside else []
            self.done.append(_Done(node.id, node, inputs, [self.memory.hold(b) for b in kept], found))

    def _read(self, id: int, node: Node, domain: frozenset[Axis] | None, named: list[Buffer]) -> Key:
        """An input, repeated at the rows of the node that reads it if it has fewer."""
        source = self.graph.node(id)
        own, wanted = self.sizes.domain(source), self._wanted(node, domain)
        if node.op in _AS_THEY_ARE or own is None or wanted is None:
            return id
        if own >= wanted:
            if source.role != node.role and (id, wanted) not in self.buffers:
                # Repeated for every candidate; of one each it is the same value, under another name.
                self.buffers[id, wanted] = self.memory.hold(self.buffers[id])
                named.append(self.buffers[id])
            return id
        key = (id, wanted)
        if key not in self.buffers:
            buffer = Buffer(_device(node), self.sizes.value(source, wanted))
            self.buffers[key] = self.memory.hold(buffer)
            named.append(buffer)
            if id in self.learns:
                self.done.append(_Done(key, source, ((id, id),), [], Cost()))
        return key

    def _wanted(self, node: Node, domain: frozenset[Axis] | None) -> frozenset[Axis] | None:
        axis = node.attrs.get("axis")
        if isinstance(axis, Axis) and axis.ragged and node.op in ("sum", "mean", "max", "min", "softmax"):
            return (domain or frozenset()) | {axis}
        return domain

    # ------------------------------------------------------------- backward

    def _penalties(self) -> None:
        """Rows of tables that are looked up once more for the sum of their squares."""
        self.penalties: list[tuple[Weight, Buffer]] = []
        for weight in self.graph.weights.values():
            if weight.l2 and not weight.frozen and weight.kind == "table":
                device = next((_device(n) for n in self.graph.nodes if weight.path in n.weights), ALL)
                rows = Buffer(device, self._distinct(weight) * BYTES * weight.shape[1])
                self.memory.need(device, rows.bytes)
                self.penalties.append((weight, self.memory.hold(rows)))

    def _distinct(self, weight: Weight) -> float:
        named = (
            self.sizes.rows(self.sizes.domain(n) or frozenset())
            for n in self.graph.nodes
            for r in readings(n)
            if r.table == weight.path
        )
        return distinct(sum(named), weight.shape[0])

    def _back(self) -> None:
        self.grads: dict[Key, Buffer] = {}
        for id in self.graph.outputs:
            if id in self.learns:
                node = self.graph.node(id)
                self._give(id, Buffer(_device(node), self.sizes.value(node)))
        for weight, rows in reversed(self.penalties):
            self._rows_of(weight, rows.device, 0.0)
            self.memory.release(rows)
        for done in reversed(self.done):
            grad = self.grads.pop(done.key, None)
            if done.cost.first:
                # Its gradients come once all of it is derived: what was kept has gone by then.
                self.memory.need(_device(done.node), done.cost.first)
                self._forget(done)
            if grad is not None:
                self._derive(done, grad)
                self.memory.release(grad)
            self._forget(done)

    def _forget(self, done: _Done) -> None:
        for buffer in done.kept:
            self.memory.release(buffer)
        done.kept.clear()

    def _derive(self, done: _Done, grad: Buffer) -> None:
        """The gradients of a node's inputs and weights from its own."""
        node, device = done.node, grad.device
        expanded = not isinstance(done.key, int)
        self.memory.need(device, done.cost.back)
        if not expanded:
            for path in dict.fromkeys(p for n in walk((node,)) for p in n.weights):
                self._weight(
                    self.graph.weights[path], grad, self.sizes.rows(self.sizes.domain(node) or frozenset())
                )
        passes = not expanded and (done.cost.way == "same" or node.op in VIEWS or _spread_out(node))
        extra = self.memory.hold(Buffer(device, done.cost.back))
        for i, key in done.inputs:
            if i not in self.learns:
                continue
            source = self.graph.node(i)
            size = self.sizes.value(source, key[1] if isinstance(key, tuple) else None)
            whole = node.op in ("concat", "stack", "transfer") or _spread_out(node)
            home = _device(source) if node.op == "transfer" else device
            if passes and home == device and (whole or size >= grad.bytes):
                self._give(key, grad)
            else:
                if size < grad.bytes and not expanded:
                    self.memory.need(device, grad.bytes)  # before it is summed up
                self._give(key, Buffer(home, size))
        self.memory.release(extra)

    def _give(self, key: Key, part: Buffer) -> None:
        """A part of a gradient; several are added up."""
        before = self.grads.get(key)
        if before is None:
            self.grads[key] = self.memory.hold(part)
            return
        self.memory.hold(part)
        if before.holders > 1:
            total = self.memory.hold(Buffer(before.device, max(before.bytes, part.bytes)))
            self.memory.release(before)
            self.grads[key] = total
        self.memory.release(part)

    def _weight(self, weight: Weight, grad: Buffer, named: float) -> None:
        if weight.frozen or weight.kind == "buffer":
            return
        if self.by_row.get(weight.path):
            self._rows_of(weight, grad.device, named)
            return
        size = BYTES * math.prod(weight.shape)
        if weight.path in self.weights:
            self.memory.need(grad.device, size)
        else:
            self.weights[weight.path] = self.memory.hold(Buffer(grad.device, size))

    def _rows_of(self, weight: Weight, device: str, named: float) -> None:
        """A gradient by row: the distinct ones, each with its id. named: how many ids name one."""
        self.memory.need(device, named * _SORTED * _INDEX)
        size = self._distinct(weight) * (BYTES * weight.shape[1] + _INDEX)
        if weight.path in self.weights:
            self.memory.need(device, size)
        else:
            self.weights[weight.path] = self.memory.hold(Buffer(device, size))

    def _optimise(self) -> None:
        rule = self.graph.train.get("optimizer", {}).get("name", "adam")
        for path, grad in self.weights.items():
            if self.by_row.get(path):
                piece = min(BYTES * _PIECE, grad.bytes)
                self.memory.need(grad.device, _ROW_TENSORS.get(rule, 1) * piece)
            else:
                self.memory.need(grad.device, _DENSE_COPIES * grad.bytes)


def distinct(named: float, rows: int) -> float:
    """How many rows of a table a batch names, if it names any as likely as any other."""
    return rows * -math.expm1(-named / rows) if rows else 0.0


def _spread_out(node: Node) -> bool:
    """A sum over channels or a static axis: its gradient is a view of the one that came in."""
    axis = node.attrs.get("axis")
    return node.op == "sum" and len(node.inputs) == 1 and not (isinstance(axis, Axis) and axis.ragged)


def learning(graph: Graph) -> set[int]:
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


def _needed(index: Mapping[int, Node], roots: Iterable[int]) -> set[int]:
    found: set[int] = set()
    stack = list(roots)
    while stack:
        id = stack.pop()
        if id not in found:
            found.add(id)
            stack.extend(index[id].inputs)
    return found


def _lying(graph: Graph) -> Lying:
    """Where values lie, worked out once for a graph."""
    found: Lying | None = graph.__dict__.get("_lying")
    if found is None:
        found = lying_of(graph)
        object.__setattr__(graph, "_lying", found)
    return found


def _device(node: Node) -> str:
    return node.device or ALL
