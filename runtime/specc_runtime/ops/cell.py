"""Recurrences with a compiled derivative: a loop over a batch that shrinks, forward and back.

A `Cell` is one step of a spec's `scan` and the derivative of that step, both straight-line code that
the compiler wrote. Autograd over a loop records every operation of every step and adds up the weights'
gradients step by step; here a step keeps only what its derivative reads, every step's derivatives go to
their place among those of all steps, and the gradient of each matrix is one product over all steps.

Promises: the values and gradients of the plain loop (`recurrent.scan`), first order only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime.layout import Axis, Rows, Steps
from specc_runtime.ops.regroup import regroup, rejoin
from specc_runtime.ops.rows import expand
from specc_runtime.tracing import untraced

Tensors = tuple[Tensor, ...]
Perhaps = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Cell:
    """One step and its derivative. Every tensor of a step is [n, width], n sequences still running.

    step(values, constants, matrices, biases, states, nexts) -> kept: writes the next states into
        `nexts`; `kept` is what `back` reads. The values are its own to write over.
    back(values, constants, matrices, states, kept, d_next, d_values, d_products) -> (d_constants,
        d_states, factors): writes the derivatives of the values and of the results of the products
        [n, out] into their places; gives those of the rest, None where there is none, and for each
        matrix [out, in] what it multiplied, [n, in].
    sloped: for each value whether it has a derivative; all of them if there are none here.
    places: for each matrix where the derivative of its product lies: (number of a value, start, stop) for
        channels of that value's, None for a place of its own; none here if all have their own.
    biased: for each bias [out] the number of the matrix whose product it is added to.
    """

    step: Callable[[Tensors, Tensors, Tensors, Tensors, Tensors, Tensors], Tensors]
    back: Callable[
        [Tensors, Tensors, Tensors, Tensors, Tensors, Tensors, Perhaps, Tensors],
        tuple[Perhaps, Perhaps, Tensors],
    ]
    sloped: tuple[bool, ...] = ()
    places: tuple[tuple[int, int, int] | None, ...] = ()
    biased: tuple[int, ...] = ()


class Projected(NamedTuple):
    """A value of a recurrence that is a product: x [of.count, in] with a matrix [out, in] and a bias, at
    every row of `to`; both None where the rows are those of the recurrence.

    x is put into the order of steps before it is multiplied: it is narrower than the product.
    """

    x: Tensor
    matrix: Tensor
    bias: Tensor | None = None
    of: Rows | None = None
    to: Rows | None = None

    def in_steps(self, steps: Steps) -> Tensor:
        if self.of is not None and self.to is not None and self.of is not self.to:
            whole = expand(F.linear(self.x, self.matrix, self.bias), self.of, self.to)
            return regroup(whole, steps.gather, steps.scatter)
        return F.linear(regroup(self.x, steps.gather, steps.scatter), self.matrix, self.bias)


@untraced
def recur(
    cell: Cell,
    rows: Rows,
    axis: Axis,
    values: Sequence[Tensor | Projected],
    constants: Sequence[Tensor],
    matrices: Sequence[Tensor],
    biases: Sequence[Tensor],
    states: Sequence[Tensor],
    backward: bool = False,
) -> Tensors:
    """States at each position of a ragged axis.

    values: [rows.count, w], or what gives that, seen one position at a time. constants, states (at the
    start): [rows.without(axis).count, w]. matrices: [out, in], biases: [out], the same at every step.
    Returns every state at each position, [rows.count, w].
    """
    steps = rows.steps(axis, backward)
    sequences = len(steps.order)
    back_to = torch.empty_like(steps.order)
    back_to[steps.order] = torch.arange(sequences, device=back_to.device)
    walked: Tensors = _Walk.apply(  # type: ignore[no-untyped-call]
        cell,
        steps.active,
        (len(values), len(constants), len(matrices), len(biases)),
        # Copies, in the order of steps: the walk may write over them.
        *(
            x.in_steps(steps) if isinstance(x, Projected) else regroup(x, steps.gather, steps.scatter)
            for x in values
        ),
        *(regroup(x, steps.order, back_to) for x in constants),
        *matrices,
        *biases,
        *(regroup(x, steps.order, back_to) for x in states),
    )
    return tuple(rejoin(state, steps.scatter, steps.gather) for state in walked)


class _Walk(torch.autograd.Function):
    """The loop, over rows in the order of steps: [rows, w] values to [rows, w] states."""

    @staticmethod
    def forward(
        ctx: Any, cell: Cell, active: tuple[int, ...], sizes: tuple[int, int, int, int], *given: Tensor
    ) -> Tensors:
        values, constants, matrices, biases, states = _split(given, sizes)
        rows = sum(active)
        traces = tuple(s.new_empty(rows, s.shape[1]) for s in states)
        wanted = any(ctx.needs_input_grad)
        kept: list[Tensors] = []
        current = states
        for running, seen, nexts in zip(
            active, _by_step(values, active), _by_step(traces, active), strict=True
        ):
            saved = cell.step(
                seen,
                tuple(c[:running] for c in constants),
                matrices,
                biases,
                tuple(s[:running] for s in current),
                nexts,
            )
            if wanted:
                kept.append(saved)
            current = nexts
        ctx.cell, ctx.active, ctx.sizes, ctx.kept = cell, active, sizes, kept
        ctx.save_for_backward(*given, *traces)
        return traces

    @staticmethod
    def backward(ctx: Any, *d_traces: Tensor) -> tuple[Any, ...]:
        cell: Cell = ctx.cell
        active: tuple[int, ...] = ctx.active
        count = len(d_traces)
        saved = ctx.saved_tensors
        if not active:
            return (None, None, None, *(torch.zeros_like(x) for x in saved[:-count]))
        values, constants, matrices, _, starts = _split(saved[:-count], ctx.sizes)
        traces = saved[-count:]
        sloped = cell.sloped or (True,) * len(values)
        d_values = tuple(torch.empty_like(x) if s else None for x, s in zip(values, sloped, strict=True))
        d_products = _places(cell, matrices, d_values, len(traces[0]))
        d_constants = tuple(torch.zeros_like(c) for c in constants)
        seen, traced = _by_step(values, active), _by_step(traces, active)
        into_values, into_products = _by_step(d_values, active), _by_step(d_products, active)
        given = _by_step(d_traces, active)
        carried: Perhaps = (None,) * count
        factors: list[Tensors] = []
        for number in reversed(range(len(active))):
            running = active[number]
            before = traced[number - 1] if number else starts
            d_held, carried, multiplied = cell.back(
                seen[number],
                tuple(c[:running] for c in constants),
                matrices,
                tuple(s[:running] for s in before),
                ctx.kept[number],
                tuple(_sum(d, more) for d, more in zip(given[number], carried, strict=True)),
                into_values[number],
                into_products[number],
            )
            for total, part in zip(d_constants, d_held, strict=True):
                if part is not None:
                    total[:running].add_(part)
            factors.append(multiplied)
        joined = _Joined()
        return (
            None,
            None,
            None,
            *d_values,
            *d_constants,
            *(d.t() @ joined(x) for d, x in zip(d_products, zip(*factors, strict=True), strict=True)),
            *(d_products[number].sum(0) for number in cell.biased),
            *(_sum(torch.zeros_like(s), d) for s, d in zip(starts, carried, strict=True)),
        )


def _places(cell: Cell, matrices: Tensors, d_values: Perhaps, rows: int) -> Tensors:
    """For each matrix the derivative of its product at all steps, [rows, out]."""
    found = []
    for matrix, place in zip(matrices, cell.places or (None,) * len(matrices), strict=True):
        if place is None:
            found.append(matrix.new_empty(rows, len(matrix)))
        else:
            value, start, stop = place
            whole = d_values[value]
            assert whole is not None
            found.append(whole[:, start:stop])
    return tuple(found)


def _by_step(whole: Sequence[Any], active: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """For each step its part of every tensor [rows, w]."""
    if not whole:
        return [()] * len(active)
    parts = [(None,) * len(active) if x is None else x.split(active) for x in whole]
    return list(zip(*parts, strict=True))


def _sum(d: Tensor, more: Tensor | None) -> Tensor:
    """d [n, w], with what the following step has for the first of its rows. A new tensor: d is not ours."""
    if more is None:
        return d
    if len(d) == len(more):
        return d + more
    whole = d.clone()
    whole[: len(more)] += more
    return whole


class _Joined:
    """Tensors of the steps, last step first, as one in the order of steps. Those that a step gave
    twice (one value that two matrices multiply) are joined once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, parts: Sequence[Tensor]) -> Tensor:
        key = tuple(map(id, parts))
        if key not in self._known:
            self._known[key] = torch.cat(tuple(reversed(parts)))
        return self._known[key]


def _split(given: Sequence[Tensor], sizes: Sequence[int]) -> tuple[Tensors, ...]:
    """Tensors by their sizes, and the rest."""
    parts: list[Tensors] = []
    begin = 0
    for size in sizes:
        parts.append(tuple(given[begin : begin + size]))
        begin += size
    return (*parts, tuple(given[begin:]))


def sigmoid_back(d: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """The derivative of x from that of y = sigmoid(x); into a place, if one is given, which may be d's."""
    return _back(torch.ops.aten.sigmoid_backward, out, d, y)


def tanh_back(d: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """The derivative of x from that of y = tanh(x), as above."""
    return _back(torch.ops.aten.tanh_backward, out, d, y)


def relu_back(d: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """The derivative of x from that of y = relu(x), as above."""
    return _back(torch.ops.aten.threshold_backward, out, d, y, 0)


def silu_back(d: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """The derivative of x from that of y = silu(x), as above."""
    return _back(torch.ops.aten.silu_backward, out, d, x)


def _back(kernel: Any, out: Tensor | None, *given: Any) -> Tensor:
    found: Tensor = kernel(*given) if out is None else kernel.grad_input(*given, grad_input=out)
    return found
