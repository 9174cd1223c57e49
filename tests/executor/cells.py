"""Recurrences: the step's and the derivative's kernels, executed sequence by sequence, position by position.

Every value lies where the program says: what is written over is gone, here as in the compiled model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from specc.interpret.values import Setting
from specc.lower.cell import Cell
from specc.lower.native import Run
from specc.lower.program import Derived, Function, Kernel, Value
from specc.lower.rows import cuts_of
from specc.ops import OPS
from specc_runtime import ops
from tests.executor.meanings import is_pointwise, pointwise

Roots = dict[Value, Tensor]
Where = Callable[[Value, Roots], tuple[Value, int]]
"""In which of the tensors a value lies, and from which channel on."""

_FORMS: dict[str, Callable[..., Tensor]] = {
    "mm": lambda a, b: a @ b,
    "addmm": lambda total, a, b: total + a @ b,
    "addcmul": lambda total, a, b: total + a * b,
    "lerp": lambda start, end, weight: start + weight * (end - start),
    "copy": lambda x: x,
    "sum": lambda x: x.sum(-1, keepdim=True),
    "dot": lambda a, b: (a * b).sum(-1, keepdim=True),
    "cat": lambda parts: torch.cat(parts, -1),
    "pad": lambda x, beside: F.pad(x, list(beside)),
}


class Memory:
    """Straight-line code over rows: `roots` are the tensors that values lie in."""

    def __init__(self, setting: Setting, where: Where, roots: Roots) -> None:
        self.setting = setting
        self.where = where
        self.roots = roots

    def at(self, value: Value) -> Tensor:
        """The channels that a value lies in, as they are now."""
        if value in self.roots:
            return self.roots[value]
        root, start = self.where(value, self.roots)
        return self.roots[root][:, start : start + value.width]

    def read(self, arg: Any) -> Any:
        if isinstance(arg, (list, tuple)):
            return [self.read(a) for a in arg]
        if not isinstance(arg, Value):
            return arg
        return (
            torch.tensor([[arg.number]], dtype=self.setting.dtype) if arg.dtype == "number" else self.at(arg)
        )

    def run(self, kernels: Sequence[Kernel]) -> None:
        for kernel in kernels:
            if kernel.name == "columns":
                continue  # a view
            if kernel.name == "run":
                self._native(kernel)
                continue
            result = kernel.result
            if kernel.name == "empty_rows":
                like, width = kernel.args
                self.roots[result] = torch.full(
                    (len(self.at(like)), width), torch.nan, dtype=self.setting.dtype
                )
                continue
            found = self._computed(kernel)
            if result not in self.roots and self.where(result, self.roots)[0] is result:
                self.roots[result] = torch.empty(len(found), result.width, dtype=found.dtype)
            self.at(result).copy_(found.clone())

    def _computed(self, kernel: Kernel) -> Tensor:
        if kernel.name == "derived":
            return self._derived(kernel)
        if kernel.name in _FORMS:
            return _FORMS[kernel.name](*map(self.read, kernel.args))
        assert is_pointwise(kernel.name), kernel.name
        count = len(OPS[kernel.name].inputs)
        given = [self.read(a) for a in kernel.args[:count]]
        if kernel.options:
            given[1] = given[1] * kernel.options["alpha"]
        return pointwise(kernel.name, given, kernel.args[count:], self.setting)

    def _derived(self, kernel: Kernel) -> Tensor:
        derived, *operands = kernel.args
        assert isinstance(derived, Derived)
        found = OPS[derived.op].derivative
        assert found is not None
        names = {"torch": torch, "F": F, "ops": ops, **derived.attrs}
        names |= dict(zip(derived.args, map(self.read, operands), strict=True))
        text = found.python[derived.input].format(**{name: f"({name})" for name in names})
        value: Tensor = eval(text, names)  # noqa: S307
        return value

    def _native(self, kernel: Kernel) -> None:
        """A run in C: the tensors that it is given, and rows of its own."""
        run, *rows = kernel.args
        assert isinstance(run, Run)
        given = {root: self.at(value) for root, value in zip(run.rows, rows, strict=True)}
        count = len(next(iter(given.values())))
        own = {root: torch.full((count, root.width), torch.nan, dtype=self.setting.dtype) for root in run.own}
        Memory(self.setting, lambda value, _: run.places[value], {**given, **own}).run(run.kernels)


def execute(
    function: Function, setting: Setting, given: Mapping[str, Sequence[Tensor | None]], where: Where
) -> Memory:
    """A function of a cell, of the tensors of each of its groups."""
    roots = {
        value: tensor
        for group, values in function.groups.items()
        for value, tensor in zip(values, given[group], strict=True)
        if tensor is not None
    }
    memory = Memory(setting, where, roots)
    memory.run(function.kernels)
    return memory


def _place(value: Value, roots: Roots, cuts: Mapping[Value, Kernel]) -> tuple[Value, int]:
    start = 0
    while value not in roots and value.base is not None:
        start += 0 if value.written else cuts[value].args[1]
        value = value.base
    return value, start


class Walk(torch.autograd.Function):
    """All sequences of a recurrence, one after another: every state at each position, and at the end."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        setting: Setting,
        native: bool,
        sequences: list[list[int]],
        sizes: Sequence[int],
        *flat: Tensor,
    ) -> tuple[Tensor, ...]:
        values, constants, matrices, biases, starts = _apart(flat, sizes)
        step, back = cell.step, cell.back
        if native and not isinstance(cell.native, str):
            step, back = cell.native.step, cell.native.back
        cuts = cuts_of([*step.kernels, *back.kernels])
        ctx.where = lambda value, roots: _place(value, roots, cuts)
        count = sum(map(len, sequences))
        traces = [torch.full((count, s.shape[1]), torch.nan, dtype=s.dtype) for s in starts]
        ends = [torch.zeros_like(s) for s in starts]
        ctx.saved = {}
        for number, rows in enumerate(sequences):
            states = [s[number : number + 1].clone() for s in starts]
            for row in rows:
                given: dict[str, list[Tensor | None]] = {
                    "values": [v[row : row + 1].clone() for v in values],
                    "constants": [c[number : number + 1].clone() for c in constants],
                    "matrices": [m.t() for m in matrices],
                    "biases": [b.unsqueeze(0) for b in biases],
                    "states": list(states),
                    "nexts": [torch.full_like(s, torch.nan) for s in states],
                }
                memory = execute(step, setting, given, ctx.where)
                kept = [memory.at(v) for v in step.results]
                ctx.saved[row] = {**given, "kept": kept}
                states = [x for x in given["nexts"] if x is not None]
                for trace, state in zip(traces, states, strict=True):
                    trace[row] = state[0]
            if rows:
                for end, state in zip(ends, states, strict=True):
                    end[number] = state[0]
        ctx.cell, ctx.back, ctx.setting, ctx.sequences, ctx.sizes = cell, back, setting, sequences, sizes
        ctx.flat = flat
        return (*traces, *ends)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        cell, back = ctx.cell, ctx.back
        values, constants, matrices, biases, starts = _apart(ctx.flat, ctx.sizes)
        d_values, d_constants, d_matrices, d_biases, d_starts = (
            [torch.zeros_like(x) for x in group] for group in (values, constants, matrices, biases, starts)
        )
        d_traces, d_ends = grads[: len(starts)], grads[len(starts) :]
        for number, rows in enumerate(ctx.sequences):
            carried: list[Tensor | None] = [d[number : number + 1] for d in d_ends]
            for row in reversed(rows):
                d_next = [
                    d[row : row + 1] + (0 if c is None else c) for d, c in zip(d_traces, carried, strict=True)
                ]
                into = [
                    torch.full_like(v[:1], torch.nan) if sloped else None
                    for v, sloped in zip(values, cell.sloped, strict=True)
                ]
                products: list[Tensor] = []
                for matrix, place in zip(matrices, cell.places, strict=True):
                    if place is None:
                        products.append(torch.full((1, len(matrix)), torch.nan, dtype=matrix.dtype))
                    else:
                        whole = into[place[0]]
                        assert whole is not None
                        products.append(whole[:, place[1] : place[2]])
                saved = {**ctx.saved[row], "matrices": list(matrices)}
                given = {**saved, "d_next": d_next, "d_values": into, "d_products": products}
                memory = execute(back, ctx.setting, given, ctx.where)
                assert back.returned is not None
                held, carried, factors = (
                    [None if v is None else memory.at(v) for v in g] for g in back.returned
                )
                for total, part in zip(d_values, into, strict=True):
                    if part is not None:
                        total[row] += part[0]
                for total, part in zip(d_constants, held, strict=True):
                    if part is not None:
                        total[number] += part[0]
                for total, product, factor in zip(d_matrices, products, factors, strict=True):
                    total += product.t() @ factor
                for total, which in zip(d_biases, cell.biased, strict=True):
                    total += products[which][0]
            if rows:
                for total, part in zip(d_starts, carried, strict=True):
                    if part is not None:
                        total[number] += part[0]
        return (None,) * 5 + (*d_values, *d_constants, *d_matrices, *d_biases, *d_starts)


def _apart(flat: Sequence[Tensor], sizes: Sequence[int]) -> list[Sequence[Tensor]]:
    begins = [sum(sizes[:n]) for n in range(len(sizes))]
    return [flat[begin : begin + size] for begin, size in zip(begins, sizes, strict=True)]
