"""The memory of one step over time: liveness of buffers in a lowered program and its derivative.

In the forward pass a buffer lives as long as a local of its function holds it, an expression that is being
computed reads it, or it is saved for backward. In the backward pass kernels come in the opposite order:
gradients are allocated, and what was saved is released. The peak is what a step takes.

Promises: bytes above the weights and the optimizer's state, by device. Leaves what a kernel saves and needs
to `costs`, and sums by kind to `memory`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from specc.ir.graph import Graph, Weight
from specc.lower.program import Function, Heads, Kernel, Matrix, Parameter, Program, Rows, Value, walk
from specc.lower.tile import TileInC
from specc.ops import OPS, op
from specc.passes.placement import BYTES
from specc.plan.buffers import Buffer, Memory
from specc.plan.costs import (
    SAME,
    Cost,
    Sizes,
    cost,
    is_pointwise,
    matrices_made,
    order_kept,
    rows_kept,
)

ALL = "model"  # the device of a model without places

# An optimizer by row moves so many numbers of each tensor at once (specc_runtime.train.behind).
_PIECE = 2**16
_ROW_TENSORS = {"sgd": 1, "adagrad": 3, "adam": 3, "adamw": 3}
# Rules whose steps torch makes in one kernel, and what others need beside a gradient.
_FUSED = ("adam", "adamw", "sgd", "adagrad")
_DENSE_COPIES = 2
_INDEX = 8
# Bytes of a product from which on its derivative has that of what follows in it (TOGETHER of
# specc_runtime.native.products).
_TOGETHER = 2**20 * BYTES
# The ids that are looked up, put together, sorted, with their order, and where each row begins.
_SORTED = 4


@dataclass
class _Done:
    """A kernel that has a derivative, with what it saved for it."""

    kernel: Kernel
    kept: list[Buffer]
    cost: Cost


def peaks(program: Program, sizes: Sizes, training: bool, by_row: Mapping[str, bool]) -> dict[str, float]:
    """Return by device the most bytes that are held at one time.

    by_row: by table, whether its gradient has only the rows of the batch.
    """
    return _Walk(program.graph, _called(program, training), sizes, training, by_row).run()


def index_bytes(program: Program, sizes: Sizes, training: bool) -> dict[str, float]:
    """Return by device the bytes of a batch's index tensors, which live as long as the batch."""
    functions = _called(program, training)
    kernels = [k for f in functions for k in walk(f)]
    every = {part: None for k in kernels for part in k.parts() if isinstance(part, Rows)}
    found: dict[str, float] = {}
    for device in dict.fromkeys(rows.device for rows in every):
        found[device or ALL] = rows_kept(sizes, [rows for rows in every if rows.device == device])
    for kernel in kernels:
        result = next((r for r in kernel.results if r is not None), None)
        if result is not None and (more := order_kept(kernel, sizes)):
            found[result.device or ALL] = found.get(result.device or ALL, 0.0) + more
    return found


def _called(program: Program, training: bool) -> list[Function]:
    """Return the functions that a step calls, in their order."""
    first, last = program.shared or program.forward, program.losses if training else program.forward
    return list(dict.fromkeys((first, last)))


class _Walk:
    def __init__(
        self,
        graph: Graph,
        functions: list[Function],
        sizes: Sizes,
        training: bool,
        by_row: Mapping[str, bool],
        given: Collection[Value] = (),
    ) -> None:
        self.graph = graph
        self.functions = functions
        self.sizes = sizes
        self.training = training
        self.by_row = by_row
        self.memory = Memory()
        self.buffers: dict[Value, Buffer] = {}
        self.done: list[_Done] = []
        self.weights: dict[str, Buffer] = {}
        self.learns = learning(graph, functions, given) if training else set()

    def run(self) -> dict[str, float]:
        """Return the peaks of a step: the functions, their derivatives, and the optimizer."""
        held = [buffer for function in self.functions for buffer in self._function(function)]
        for buffer in held:
            self.memory.release(buffer)
        if self.training:
            self._back()
            self._optimise()
        return self.memory.peak

    def tile(self) -> dict[str, float]:
        """Return the peaks of one tile: of the function, and in training of its derivative too.

        Its parameters and the gradient of its result are views of buffers that live outside.
        """
        (function,) = self.functions
        self.buffers |= {x: Buffer(x.device or ALL, 0.0) for x in function.parameters}
        held = self._function(function)
        for buffer in held:
            self.memory.release(buffer)
        if self.training:
            self._back(0.0)
        return self.memory.peak

    # -------------------------------------------------------------- forward

    def _function(self, function: Function) -> list[Buffer]:
        """Compute a function. Return the buffers of its results, held."""
        made = {r: k for k in function.kernels for r in k.results if r is not None}
        computed: set[Kernel] = set()
        named: list[Buffer] = []

        def compute(kernel: Kernel) -> list[Buffer]:
            """Compute a kernel after those within its expression. Return the buffers of its values, held."""
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
        """Compute a kernel's values and save what its derivative reads. Return the values' buffers."""
        tiled = kernel.name == "by_tile"
        in_c = kernel.options.get("in_c") if tiled and self._on_cpu(kernel) else None
        if isinstance(in_c, TileInC):
            room = float(in_c.numbers * BYTES)
            found = Cost(kernel.args[2:] if self._learns(kernel) else (), during=room, back=room)
        elif tiled and (whole := self._untiled(kernel)) is not None:
            return whole
        elif kernel.within and kernel.over is not None and self._by_its_product(kernel, kernel.over):
            buffer = self.buffers[kernel.result] = self.buffers[kernel.over]
            self._passed(kernel.over, kernel.result)
            return [buffer]
        else:
            found = self._tiles(kernel) if tiled else cost(kernel, self.sizes, self.learns, self.training)
        made = []
        for result in kernel.results:
            if result is None:
                continue
            buffer = self._placed(kernel, result)
            self.buffers[result] = buffer
            made.append(buffer)
        if not made:
            return made
        joined = matrices_made(kernel, self.graph)
        if self._learns(kernel):
            found = replace(found, beside=found.beside + joined)
        else:
            found = replace(found, during=found.during + joined)
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

    def _untiled(self, kernel: Kernel) -> list[Buffer] | None:
        """Compute a tiled kernel whose rows fit in one tile: as the function that it calls. Return None where
        there are more rows."""
        function, tile, *given = kernel.args
        rows = self.sizes.rows(given[0].shape.domain)
        if rows > tile and self._on_cpu(kernel):
            return None
        for x, inner in zip(given, function.parameters, strict=True):
            self.buffers[inner] = self.buffers[x]
            self._passed(x, inner)
        made = self._function(function)
        self.buffers[kernel.result] = made[0]
        self._passed(function.results[0], kernel.result)
        return made

    def _by_its_product(self, kernel: Kernel, product: Value) -> bool:
        """Return whether nothing is left of what follows a product but its name.

        In C a large product does it, too, in both directions, and keeps its result. A gradient before what
        follows is only made for what a product was added to.
        """
        done = next((d for d in reversed(self.done) if product in d.kernel.results), None)
        if done is None or not self._on_cpu(kernel):
            return False
        total, *given = done.kernel.operands()
        adds = done.kernel.name == "add_product"
        x, choice = given[0] if adds else total, done.kernel.options.get("in_c_from")
        if choice is None or not choice.holds(self.sizes.value(x) / BYTES * product.width):
            return False
        if self.sizes.value(product) < _TOGETHER:
            return False
        done.kept.append(self.memory.hold(self.buffers[product]))
        if adds:
            done.cost = replace(done.cost, back=done.cost.back + self.sizes.value(product))
        return not adds

    def _passed(self, x: Value, to: Value) -> None:
        """Let a value go on under another name, and its gradient the other way."""
        if to in self.learns:
            self.done.append(_Done(Kernel("transfer", (x,), (to,)), [], Cost()))

    def _on_cpu(self, kernel: Kernel) -> bool:
        """Return whether a kernel runs on a CPU. A model without places does."""
        device = kernel.result.device
        return self.graph.devices.get(device or "", "cpu").partition(":")[0] == "cpu"

    def _tiles(self, kernel: Kernel) -> Cost:
        """Return the cost of computing tile by tile, and tile by tile again for the derivative."""
        function, rows, *given = kernel.args
        sizes = self.sizes.of_rows(rows)
        learnt = {p for p, x in zip(function.parameters, given, strict=True) if x in self.learns}

        def peak(training: bool) -> float:
            found = _Walk(self.graph, [function], sizes, training, {}, learnt).tile()
            return sum(found.values())

        own, values = self.sizes.value(kernel.result), sum(self.sizes.value(x) for x in given)
        # All parts are there when they are put together; so are those before when the last is computed.
        before = 1 - rows / self.sizes.rows(given[0].shape.domain)
        forward = max(peak(False) + before * own, 2 * own) - own
        if not self._learns(kernel):
            return Cost(during=forward)
        back = sum(self.sizes.value(x) for x in given if x in self.learns)
        return Cost(tuple(given), during=forward, back=back, first=before * values + peak(True))

    def _placed(self, kernel: Kernel, result: Value) -> Buffer:
        """Return the buffer of a value: that of its base or operand if it is a view, else a new one."""
        device = result.device or ALL
        if result.base is not None and result.base in self.buffers:
            return self.buffers[result.base]
        if kernel.name in _NOTHING or _same_rows(kernel) or (kernel.name == "dropout" and not self.training):
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

    def _back(self, size: float | None = None) -> None:
        """Compute the derivatives, from the last to the first.

        size: bytes of each upstream gradient; None if they are allocated here.
        """
        self.grads: dict[Value, Buffer] = {}
        for result in self.functions[-1].results:
            if result in self.learns:
                bytes_ = self.sizes.value(result) if size is None else size
                self._give(result, Buffer(result.device or ALL, bytes_))
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
        """Compute the gradients of a kernel's operands and weights from the upstream ones."""
        kernel = done.kernel
        result = next(r for r in kernel.results if r is not None)
        grad = given[0]
        self.memory.need(device, done.cost.back)
        for path in weights_of(kernel, self.graph):
            self._weight(self.graph.weights[path], device, self.sizes.rows(result.shape.domain))
        view = (result.base is not None and not result.written) or _same_rows(kernel)
        passes = kernel.name in SAME or view or _spread_out(kernel)
        learnt = [x for x in dict.fromkeys(kernel.operands()) if x in self.learns]
        own = self.sizes.value(result)
        # Of an operand that is repeated the gradient is as large as the result, before it is summed up.
        repeated = sum(own for x in learnt if self.sizes.value(x) < own)
        extra = done.cost.back + (repeated if is_pointwise(kernel) and not passes else 0.0)
        held = self.memory.hold(Buffer(device, extra))
        for x in learnt:
            size = self.sizes.value(x)
            whole = kernel.name in ("cat", "concat", "stack", "transfer") or _spread_out(kernel)
            home = (x.device or ALL) if kernel.name == "transfer" else device
            if passes and home == device and (whole or size >= grad.bytes):
                self._give(x, grad)
            else:
                self._give(x, Buffer(home, size))
        self.memory.release(held)

    def _give(self, value: Value, part: Buffer) -> None:
        """Add a part to the gradient of a value."""
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
        """Compute a table's gradient by row: the distinct rows, each with its id. named: how many ids there
        are."""
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
_NOTHING = frozenset({"learned", "whole", "constant", "positions", "predicted", "weights"})


def distinct(named: float, rows: int) -> float:
    """Return how many distinct rows of a table a batch reads, if all are equally likely."""
    return rows * -math.expm1(-named / rows) if rows else 0.0


def _same_rows(kernel: Kernel) -> bool:
    """Return whether a kernel expands values to rows that they have already: with one candidate a request,
    the rows of candidates are those of requests."""
    return kernel.name == "expand" and kernel.args[1].domain.axes == kernel.args[2].domain.axes


def _spread_out(kernel: Kernel) -> bool:
    """Return whether a kernel is a sum over channels or a static axis: its gradient is a view of the upstream
    one."""
    return kernel.name in ("channels.sum", "along.sum")


def _tables(arg: Any) -> list[str]:
    return [part.path for part in Kernel("", (arg,), ()).parts() if isinstance(part, Parameter)]


def weights_of(kernel: Kernel, graph: Graph) -> list[str]:
    """Return the paths of the weights that a kernel reads, and those of the functions that it calls."""
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


def learning(graph: Graph, functions: Iterable[Function], given: Iterable[Value] = ()) -> set[Value]:
    """Return the values that have a gradient. given: parameters of which that is known."""
    found = set(given)
    for function in functions:
        for kernel in function.kernels:
            if kernel.name == "by_tile":
                inner, _, *values = kernel.args
                through = {p for p, x in zip(inner.parameters, values, strict=True) if x in found}
                found |= learning(graph, [inner], through)
            trained = any(not graph.weights[w].frozen and graph.weights[w].kind != "buffer"
                          for w in weights_of(kernel, graph))  # fmt: skip
            passes = kernel.name not in OPS or OPS[kernel.name].traits.passes_gradient
            if passes and (trained or any(x in found for x in kernel.operands())):
                found.update(r for r in kernel.results if r is not None and r.dtype == "real")
    return found
