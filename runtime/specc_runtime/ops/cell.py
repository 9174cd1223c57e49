"""Recurrences with a compiled derivative: a loop over a batch that shrinks, forward and back.

A `Cell` is one step of a spec's `scan` and the derivative of that step, both straight-line code that
the compiler wrote. Autograd over a loop records every operation of every step and adds up the weights'
gradients step by step; here a step keeps only what its derivative reads, and the gradient of each
matrix is one product over all steps.

Promises: the values and gradients of the plain loop (`recurrent.scan`), first order only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from specc_runtime.layout import Axis, Rows
from specc_runtime.ops.regroup import regroup, rejoin

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Cell:
    """One step and its derivative. Every tensor of a step is [n, width], n sequences still running.

    step(values, constants, matrices, biases, states) -> (next states, kept): `kept` is what `back`
        reads.
    back(values, constants, matrices, states, kept, d_next) -> (d_values, d_constants, d_states,
        products): derivatives in the order of the arguments, None where there is none; `products`
        has for each matrix [out, in] the pair (its input [n, in], the derivative of its output [n, out]).
    biased: for each bias [out] the number of the matrix whose product it is added to.
    """

    step: Callable[[Tensors, Tensors, Tensors, Tensors, Tensors], tuple[Tensors, Tensors]]
    back: Callable[
        [Tensors, Tensors, Tensors, Tensors, Tensors, Tensors],
        tuple[
            tuple[Tensor | None, ...],
            tuple[Tensor | None, ...],
            tuple[Tensor | None, ...],
            tuple[tuple[Tensor, Tensor], ...],
        ],
    ]
    biased: tuple[int, ...] = ()


def recur(
    cell: Cell,
    rows: Rows,
    axis: Axis,
    values: Sequence[Tensor],
    constants: Sequence[Tensor],
    matrices: Sequence[Tensor],
    biases: Sequence[Tensor],
    states: Sequence[Tensor],
    backward: bool = False,
) -> Tensors:
    """States at each position of a ragged axis.

    values: [rows.count, w], seen one position at a time. constants, states (at the start):
    [rows.without(axis).count, w]. matrices: [out, in], biases: [out], the same at every step.
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
        *(regroup(x, steps.gather, steps.scatter) for x in values),
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
        current, begin = states, 0
        for running in active:
            current, saved = cell.step(
                tuple(x[begin : begin + running] for x in values),
                tuple(c[:running] for c in constants),
                matrices,
                biases,
                tuple(s[:running] for s in current),
            )
            current = tuple(
                trace[begin : begin + running].copy_(state)
                for trace, state in zip(traces, current, strict=True)
            )
            if wanted:
                kept.append(saved)
            begin += running
        ctx.cell, ctx.active, ctx.sizes, ctx.kept = cell, active, sizes, kept
        ctx.save_for_backward(*given, *traces)
        return traces

    @staticmethod
    def backward(ctx: Any, *d_traces: Tensor) -> tuple[Any, ...]:
        count = len(d_traces)
        saved = ctx.saved_tensors
        if not ctx.active:
            return (None, None, None, *(torch.zeros_like(x) for x in saved[:-count]))
        values, constants, matrices, _, starts = _split(saved[:-count], ctx.sizes)
        traces = saved[-count:]
        d_states = tuple(torch.zeros_like(s) for s in starts)
        d_constants = tuple(torch.zeros_like(c) for c in constants)
        d_values: list[tuple[Tensor | None, ...]] = []
        products: list[tuple[tuple[Tensor, Tensor], ...]] = []
        end = sum(ctx.active)
        for number in reversed(range(len(ctx.active))):
            running = ctx.active[number]
            begin = end - running
            if number:
                before = begin - ctx.active[number - 1]
                states = tuple(t[before : before + running] for t in traces)
            else:
                states = tuple(s[:running] for s in starts)
            # Not in place: what `back` gives may be a view of it, and is kept.
            d_next = tuple(d[:running] + t[begin:end] for d, t in zip(d_states, d_traces, strict=True))
            d_seen, d_held, d_before, pairs = ctx.cell.back(
                tuple(x[begin:end] for x in values),
                tuple(c[:running] for c in constants),
                matrices,
                states,
                ctx.kept[number],
                d_next,
            )
            for total, part in zip(d_constants, d_held, strict=True):
                if part is not None:
                    total[:running].add_(part)
            for total, part in zip(d_states, d_before, strict=True):
                if part is None:
                    total[:running].zero_()
                else:
                    total[:running].copy_(part)
            d_values.append(d_seen)
            products.append(pairs)
            end = begin
        joined = _Joined()
        by_matrix = _transposed(products)
        return (
            None,
            None,
            None,
            *(joined(d) for d in zip(*d_values, strict=True)),
            *d_constants,
            *(joined(d).t() @ joined(x) for x, d in by_matrix),
            *(joined(by_matrix[number][1]).sum(0) for number in ctx.cell.biased),
            *d_states,
        )


class _Joined:
    """Tensors of the steps, last step first, as one in the order of steps. Those that a step gave
    twice (the gradient of a gate is that of its product, too) are joined once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], Tensor | None] = {}

    def __call__(self, parts: Sequence[Tensor | None]) -> Any:
        key = tuple(map(id, parts))
        if key not in self._known:
            there = [p for p in reversed(parts) if p is not None]
            self._known[key] = torch.cat(there) if there else None
        return self._known[key]


def _transposed(
    products: Sequence[tuple[tuple[Tensor, Tensor], ...]],
) -> list[tuple[list[Tensor], list[Tensor]]]:
    """From (input, derivative) by matrix for each step, to (inputs, derivatives) for each matrix."""
    return [
        ([x for x, _ in of_matrix], [d for _, d in of_matrix]) for of_matrix in zip(*products, strict=True)
    ]


def _split(given: Sequence[Tensor], sizes: Sequence[int]) -> tuple[Tensors, ...]:
    """Tensors by their sizes, and the rest."""
    parts: list[Tensors] = []
    begin = 0
    for size in sizes:
        parts.append(tuple(given[begin : begin + size]))
        begin += size
    return (*parts, tuple(given[begin:]))


def sigmoid_back(d: Tensor, y: Tensor) -> Tensor:
    """The derivative of x from that of y = sigmoid(x)."""
    found: Tensor = torch.ops.aten.sigmoid_backward(d, y)
    return found


def tanh_back(d: Tensor, y: Tensor) -> Tensor:
    """The derivative of x from that of y = tanh(x)."""
    found: Tensor = torch.ops.aten.tanh_backward(d, y)
    return found


def relu_back(d: Tensor, y: Tensor) -> Tensor:
    """The derivative of x from that of y = relu(x)."""
    found: Tensor = torch.ops.aten.threshold_backward(d, y, 0)
    return found


def silu_back(d: Tensor, x: Tensor) -> Tensor:
    """The derivative of x from that of y = silu(x)."""
    found: Tensor = torch.ops.aten.silu_backward(d, x)
    return found
