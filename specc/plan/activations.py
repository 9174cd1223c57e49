"""The memory of one step over time: a walk through a lowered program as Python and torch's derivatives go.

On the way there, a buffer is there as long as a local of its function holds it, an expression that is being
computed reads it, or a derivative will; on the way back gradients come and what was kept goes, in the
opposite order. The highest point is what a step takes.

Promises: bytes above the weights and the optimizer's state, by device. Leaves what a kernel keeps to `costs`,
and sums by kind to `memory`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specc.ir.graph import Graph, Weight
from specc.lower.program import Function, Heads, Kernel, Matrix, Parameter, Program, Rows, Value, walk
from specc.ops import op
from specc.passes.placement import BYTES
from specc.plan.costs import SAME, Cost, Sizes, cost, rows_kept

ALL = "model"  # the device of a model without places

# An optimizer by row moves so many numbers of each tensor at once (specc_runtime.train.rowwise).
_PIECE = 2**16
_ROW_TENSORS = {"sgd": 1, "adagrad": 3, "adam": 3, "adamw": 3}
# Rules whose steps torch makes in one kernel, and what others need beside a gradient.
_FUSED = ("adam", "adamw", "sgd", "adagrad")
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
    """A kernel on the way there that has a way back."""

    kernel: Kernel
    kept: list[Buffer]
    cost: Cost


def peaks(program: Program, sizes: Sizes, training: bool, by_row: Mapping[str, bool]) -> dict[str, float]:
    """By device, the most that is held at one time. by_row: of the tables, whose gradients are rows."""
    return _Walk(program, sizes, training, by_row).run()


def index_bytes(program: Program, sizes: Sizes, training: bool) -> dict[str, float]:
    """By device, the index tensors of a batch, which are there as long as it is."""
    functions = _Walk(program, sizes, training, {}).functions
    every = {part: None for f in functions for k in walk(f) for part in k.parts() if isinstance(part, Rows)}
    found: dict[str, float] = {}
    for device in dict.fromkeys(rows.device for rows in every):
        found[device or ALL] = rows_kept(sizes, [rows for rows in every if rows.device == device])
    return found


class _Walk:
    def __init__(self, program: Program, sizes: Sizes, training: bool, by_row: Mapping[str, bool]) -> None:
        self.program = program
        self.graph = program.graph
        self.sizes = sizes
        self.training = training
        self.by_row = by_row
        self.memory = Memory()
        self.buffers: dict[Value, Buffer] = {}
        self.done: list[_Done] = []
        self.weights: dict[str, Buffer] = {}
        shared, last = program.shared, program.losses if training else program.forward
        self.functions = [f for f in (shared, *([program.forward] if shared is None else []), last) if f]
        self.functions = list(dict.fromkeys(self.functions))
        self.learns = learning(self.graph, self.functions) if training else set()

    def run(self) -> dict[str, float]:
        held = [buffer for function in self.functions for buffer in self._function(function)]
        if self.training:
            self._back()
        for buffer in held:
            self.memory.release(buffer)
        if self.training:
            self._optimise()
        return self.memory.peak

    # -------------------------------------------------------------- forward

    def _function(self, function: Function) -> list[Buffer]:
        """Compute a function; what it gives back is held."""
        made = {r: k for k in function.kernels for r in k.results if r is not None}
        computed: set[Kernel] = set()
        named: list[Buffer] = []

        def compute(kernel: Kernel) -> list[Buffer]:
            """A kernel, after those that stand within its expression: its values' buffers, held."""
            computed.add(kernel)
            inner = [
                buffer
                for x in dict.fromkeys(kernel.operands())
                if x in made and not x.held and made[x] not in computed
                for buffer in compute(made[x])
            ]
            mine = [self.memory.hold(b) for b in self._forward(kernel)]
            for buffer in inner:
                self.memory.release(buffer)
            return mine

        for kernel in function.kernels:
            if kernel not in computed and any(r is None or r.held for r in kernel.results):
                named += compute(kernel)
        results = [b for r in function.results if r in made and made[r] not in computed
                   for b in compute(made[r])]  # fmt: skip
        results += [self.memory.hold(self.buffers[r]) for r in function.results if r in self.buffers]
        for buffer in named:
            self.memory.release(buffer)
        return results

    def _forward(self, kernel: Kernel) -> list[Buffer]:
        """Compute a kernel's values, and keep what its derivative reads."""
        found = cost(kernel, self.sizes, self.learns, self.training)
        made = []
        for result in kernel.results:
            if result is None:
                continue
            buffer = self._placed(kernel, result)
            self.buffers[result] = buffer
            made.append(buffer)
        if not made:
            return made
        device = made[0].device
        made[0].bytes += found.along
        fresh = sum(b.bytes for b in dict.fromkeys(made) if not b.holders)
        self.memory.need(device, found.during + found.beside + fresh)
        if self._learns(kernel):
            kept = [self.buffers[x] for x in dict.fromkeys(found.kept) if x in self.buffers]
            kept += made[:1] if found.output else []
            kept += [Buffer(device, found.beside)] if found.beside else []
            self.done.append(_Done(kernel, [self.memory.hold(b) for b in kept], found))
        return made

    def _placed(self, kernel: Kernel, result: Value) -> Buffer:
        """The buffer of a value: a new one, or that of what it lies in."""
        device = result.device or ALL
        if result.base is not None and result.base in self.buffers:
            return self.buffers[result.base]
        if kernel.name in _NOTHING or (kernel.name == "dropout" and not self.training):
            x = next(iter(kernel.operands()), None)
            return self.buffers[x] if x is not None and x in self.buffers else Buffer(device, 0.0)
        return Buffer(device, self.sizes.value(result))

    def _learns(self, kernel: Kernel) -> bool:
        return any(r in self.learns for r in kernel.results)

    # ------------------------------------------------------------- backward

    def _distinct(self, weight: Weight) -> float:
        named = (self.sizes.rows(r.shape.domain) for r in self._lookups(weight.path))
        return distinct(sum(named), weight.shape[0])

    def _lookups(self, path: str) -> list[Value]:
        found = []
        for function in self.functions:
            for kernel in walk(function):
                parts = [list(kernel.args)] if kernel.name in (op.EMBED, op.EMBED_BAG) else kernel.args
                if kernel.name not in (op.EMBED, op.EMBED_BAG, op.LOOKUP):
                    continue
                for arg, result in zip(parts, kernel.results, strict=True):
                    tables = _tables(arg)
                    found += [result] * tables.count(path) if result is not None else []
        return found

    def _back(self) -> None:
        self.grads: dict[Value, Buffer] = {}
        for result in self.program.losses.results:
            if result in self.learns:
                self._give(result, Buffer(result.device or ALL, self.sizes.value(result)))
        for done in reversed(self.done):
            kernel = done.kernel
            given = [self.grads.pop(r) for r in kernel.results if r is not None and r in self.grads]
            device = next(r.device or ALL for r in kernel.results if r is not None)
            if done.cost.first:
                # Its gradients come once all of it is derived: what was kept has gone by then.
                self.memory.need(device, done.cost.first)
                self._forget(done)
            if given:
                self._derive(done, given, device)
                for grad in given:
                    self.memory.release(grad)
            self._forget(done)

    def _forget(self, done: _Done) -> None:
        for buffer in done.kept:
            self.memory.release(buffer)
        done.kept.clear()

    def _derive(self, done: _Done, given: list[Buffer], device: str) -> None:
        """The gradients of a kernel's operands and weights from its own."""
        kernel = done.kernel
        result = next(r for r in kernel.results if r is not None)
        grad = given[0]
        self.memory.need(device, done.cost.back)
        for path in weights_of(kernel, self.graph):
            self._weight(self.graph.weights[path], device, self.sizes.rows(result.shape.domain))
        passes = kernel.name in SAME or result.base is not None or _spread_out(kernel)
        extra = self.memory.hold(Buffer(device, done.cost.back))
        for x in dict.fromkeys(kernel.operands()):
            if x not in self.learns:
                continue
            size = self.sizes.value(x)
            whole = kernel.name in ("cat", "concat", "stack", "transfer") or _spread_out(kernel)
            home = (x.device or ALL) if kernel.name == "transfer" else device
            if passes and home == device and (whole or size >= grad.bytes):
                self._give(x, grad)
            else:
                if size < grad.bytes and kernel.name not in _GATHERS:
                    self.memory.need(device, grad.bytes)  # before it is summed up
                self._give(x, Buffer(home, size))
        self.memory.release(extra)

    def _give(self, value: Value, part: Buffer) -> None:
        """A part of a gradient; several are added up."""
        before = self.grads.get(value)
        if before is None:
            self.grads[value] = self.memory.hold(part)
            return
        self.memory.hold(part)
        if before.holders > 1:
            total = self.memory.hold(Buffer(before.device, max(before.bytes, part.bytes)))
            self.memory.release(before)
            self.grads[value] = total
        self.memory.release(part)

    def _weight(self, weight: Weight, device: str, named: float) -> None:
        if weight.frozen or weight.kind == "buffer":
            return
        if self.by_row.get(weight.path):
            self._rows_of(weight, device, named)
            return
        size = BYTES * math.prod(weight.shape)
        if weight.path in self.weights:
            self.memory.need(device, size)
        else:
            self.weights[weight.path] = self.memory.hold(Buffer(device, size))

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
            elif rule not in _FUSED:
                self.memory.need(grad.device, _DENSE_COPIES * grad.bytes)


# Kernels whose value is a weight itself, or that of another function.
_NOTHING = frozenset({"learned", "constant", "positions", "predicted", "weights"})
# Kernels that read each operand at rows of its own.
_GATHERS = frozenset(
    {"expand", "weighted_sum", "paired", "attend", "recur", "lookup", "append", "unroll", "at", "windows"}
)


def distinct(named: float, rows: int) -> float:
    """How many rows of a table a batch names, if it names any as likely as any other."""
    return rows * -math.expm1(-named / rows) if rows else 0.0


def _spread_out(kernel: Kernel) -> bool:
    """A sum over channels or a static axis: its gradient is a view of the one that came in."""
    return kernel.name in ("channels.sum", "along.sum")


def _tables(arg: Any) -> list[str]:
    return [part.path for part in Kernel("", (arg,), ()).parts() if isinstance(part, Parameter)]


def weights_of(kernel: Kernel, graph: Graph) -> list[str]:
    """The paths of the weights that a kernel reads, those of functions that it calls too."""
    found: dict[str, None] = {}
    inner = [k for f in kernel.functions() for k in walk(f)]
    for part in (p for k in (*inner, kernel) for p in k.parts()):
        match part:
            case Parameter(layer=True):
                found |= dict.fromkeys(w for w in graph.weights if w.rpartition(".")[0] == part.path)
            case Parameter():
                found[part.path] = None
            case Matrix():
                paths = (p.bias if part.bias else p.matrix for p in part.products)
                found |= dict.fromkeys(path for path in paths if path)
            case Heads():
                found |= dict.fromkeys(s.matrix for s in part.slabs)
    return list(found)


def learning(graph: Graph, functions: list[Function]) -> set[Value]:
    """The values that a gradient flows through."""
    found: set[Value] = set()
    for function in functions:
        for kernel in function.kernels:
            trained = any(not graph.weights[w].frozen and graph.weights[w].kind != "buffer"
                          for w in weights_of(kernel, graph))  # fmt: skip
            if kernel.name != op.STOP_GRADIENT and (trained or any(x in found for x in kernel.operands())):
                found.update(r for r in kernel.results if r is not None and r.dtype == "real")
    return found
