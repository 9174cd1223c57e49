"""A lowered program executed: slowly, kernel by kernel and buffer by buffer, without any emitted text.

What it gives is to be what `specc.interpret` says of the graph (else lowering is at fault), and what the
emitted module gives (else printing or the runtime is). Rows come from a list of places, operations from their
meanings; gradients from autograd, but for recurrences, whose derivative is a lowered program itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from specc.emit.manifest import manifest_of
from specc.interpret.values import Setting
from specc.ir.graph import Graph, walk
from specc.lower.choices import Choice
from specc.lower.program import (
    Device,
    Field,
    Function,
    Heads,
    Kernel,
    LookedUp,
    Matrix,
    Parameter,
    Position,
    Program,
    Record,
    Rows,
    Symbol,
    Value,
)  # fmt: skip
from specc.lower.shape import Domain
from specc.lower.tile import TileInC
from specc.ops.products import Product
from specc_runtime import Batch
from specc_runtime.model import Weights
from tests.executor import kernels, places
from tests.executor.loops import FORMS as LOOPS


class Executed:
    """A model that is a lowered program: it answers what `specc.interpret.compare` asks of one.

    native: whether recurrences go by their functions with runs in C (executed here, kernel by kernel).
    """

    def __init__(
        self, program: Program, weights: Mapping[str, Tensor], training: bool = False, native: bool = False
    ) -> None:
        self.program, self.training, self.native = program, training, native
        self.weights = dict(weights)
        trained = {path for path, w in program.graph.weights.items() if not w.frozen and w.kind != "buffer"}
        for path, weight in self.weights.items():
            self.weights[path] = weight.detach().clone().requires_grad_(path in trained)

    @property
    def manifest(self) -> dict[str, Any]:
        return manifest_of(self.program.graph)

    def state_dict(self, keep_vars: bool = True) -> dict[str, Tensor]:
        return self.weights

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        return self._run(batch, self.program.forward)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return self._run(batch, self.program.losses)

    def attention(self, batch: Batch) -> dict[str, Weights]:
        return {} if self.program.attention is None else self._run(batch, self.program.attention)

    def output(self, name: str, batch: Batch) -> Tensor:
        """A result that has a function of its own."""
        (function,) = (f for f in self.program.outputs if f.names[0] == f"output_{name}")
        run = Execution(self, batch)
        return run.function(function, {})[0]

    def _run(self, batch: Batch, function: Function) -> dict[str, Any]:
        run, known = Execution(self, batch), {}
        shared = self.program.shared
        if shared is not None:
            known = dict(zip(shared.results, run.function(shared, {}), strict=True))
        elif function is self.program.losses:
            run.predicted = self(batch)
        return dict(zip(function.keys, run.function(function, known), strict=True))


class Execution:
    """One batch's. Values are tensors [rows, *static axes, width]; known: those that are there."""

    def __init__(self, model: Executed, batch: Batch) -> None:
        self.model, self.batch = model, batch
        self.graph: Graph = model.program.graph
        self.layout = places.Layout(self.graph, batch, model.weights, model.training)
        self.fields = {f.path: f for space in self.graph.spaces for f in space.fields}
        self.predicted: dict[str, Tensor] = {}
        self.inner = 0  # functions that are being called
        self.setting = (
            self.layout.settings[0] if self.layout.settings else Setting(None, model.weights, model.training)  # type: ignore[arg-type]
        )

    def function(self, function: Function, known: Mapping[Value, Any]) -> list[Any]:
        """What a function gives. known: what it can read of the function around it, and its parameters."""
        values = dict(known)
        for kernel in function.kernels:
            self._kernel(kernel, values)
        return [self._arg(r, values) for r in function.results]

    def _kernel(self, kernel: Kernel, values: dict[Value, Any]) -> None:
        args = [self._arg(a, values) for a in kernel.args]
        options = self._named(kernel.options, values)
        if kernel.name in LOOPS:
            found = LOOPS[kernel.name](self, *args, **options)
        else:
            found = kernels.compute(self, kernel, args, options)
        if len(kernel.results) == 1 and not isinstance(found, tuple):
            found = (found,)
        for result, value in zip(kernel.results, found, strict=True):
            if result is None:
                continue
            if isinstance(value, Tensor):
                self._fits(kernel, result, value)
            if kernel.over is not None:
                # Whoever has what is written over has the result from now on.
                value = values[kernel.over].copy_(value)
            values[result] = value

    def _fits(self, kernel: Kernel, result: Value, value: Tensor) -> None:
        """A value has the dimensions and width that it is said to have, or broadcasts along them; outside of
        steps and tiles the rows too."""
        if value.dim() < 2:  # of results and losses
            return
        assert value.dim() == 2 + len(result.shape.dims), (kernel.name, tuple(value.shape), result.shape)
        for size, axis in zip(value.shape[1:], result.shape.dims, strict=False):
            assert size in (1, len(self.layout.examples) if axis.kind == "batch" else axis.size), kernel.name
        assert value.shape[-1] == result.width, (kernel.name, tuple(value.shape), result.width)
        if self.inner == 0:
            rows = 1 if result.shape.domain is None else len(self.layout.rows(result.shape.domain))
            assert len(value) == rows, (kernel.name, len(value), rows)

    # ------------------------------------------------------------- arguments

    def _arg(self, arg: Any, values: Mapping[Value, Any]) -> Any:
        match arg:
            case Value():
                return arg.number if arg.dtype == "number" else values[arg]
            case list() | tuple():
                return [self._arg(a, values) for a in arg]
            case Rows():
                return self.layout.rows(arg.domain)
            case Position():
                return self._position(arg)
            case Parameter():
                return arg.path if arg.layer else self.model.weights[arg.path]
            case Matrix():
                return self._bias(arg) if arg.bias else torch.cat([self._matrix(p) for p in arg.products])
            case Heads():
                return self._heads(arg)
            case Record():
                given = [self._arg(a, values) for a in arg.args]
                return kernels.record(self, arg.name, given, self._named(arg.options, values))
            case Function():
                return partial(self._called, arg, {} if arg.closed else values)
            case Symbol() | Device():
                return arg.name
            case Field():
                return self.field(arg)
        return arg

    def _named(self, options: Mapping[str, Any], values: Mapping[Value, Any]) -> dict[str, Any]:
        """What kernels may know better and need not, such as where a value was looked up, is left out."""
        left = {k: a for k, a in options.items() if not isinstance(a, LookedUp | Choice | TileInC)}
        return {key: self._arg(a, values) for key, a in left.items()}

    def _called(self, function: Function, known: Mapping[Value, Any], *given: Tensor) -> list[Tensor]:
        own = dict(zip(function.parameters, given, strict=True))
        self.inner += 1
        found = self.function(function, {**known, **own})
        self.inner -= 1
        return found

    def _position(self, position: Position) -> Tensor:
        rows, axis = self.layout.rows(position.rows.domain), position.axis
        each = (self.layout.length(axis, p) if position.length else p[1][axis] for p in rows.places)
        return torch.tensor(list(each), dtype=torch.int64)

    def _matrix(self, product: Product) -> Tensor:
        weight = self.model.weights[product.matrix]
        parts = []
        for block in product.blocks:
            columns = (c.coefficient * weight[:, c.start : c.stop] for c in block)
            parts.append(sum(columns, start=torch.zeros((), dtype=weight.dtype)))
        return torch.cat(parts, 1)

    def _bias(self, matrix: Matrix) -> Tensor:
        weights = self.model.weights
        zero = partial(torch.zeros, dtype=self.setting.dtype)
        return torch.cat([weights[p.bias] if p.bias else zero(p.width) for p in matrix.products])

    def _heads(self, heads: Heads) -> Tensor:
        parts = [self.model.weights[s.matrix][s.start : s.stop] for s in heads.slabs]
        turned = parts if heads.transposed else [p.mT for p in parts]
        return torch.stack(turned) if heads.apart else turned[0]

    def field(self, field: Field) -> list[Any]:
        """What is held of a field, at each of its own rows; or the labels, one an example."""
        if field.kind == "label":
            return [x.labels[field.path] for x in self.layout.examples]
        known = self.fields[field.path]
        rows = self.layout.rows(Domain(frozenset(known.axes), known.role == "candidate"))
        held = []
        for example, positions in rows.places:
            fields = self.layout.examples[example].fields
            held.append(fields[field.path][tuple(positions[a] for a in known.axes)])
        return held

    def layer(self, path: str) -> Any:
        """The node that a layer is of."""
        nodes = walk(self.graph.nodes)
        return next(
            n for n in nodes if n.weights and n.weights[0].rpartition(".")[0] == path and not n.region
        )
