"""Recurrences with a compiled derivative: a loop over a batch that shrinks, forward and back.

A `Cell` is one step of a spec's `scan` and the derivative of that step, both straight-line code that
the compiler wrote. Autograd over a loop records every operation of every step and adds up the weights'
gradients step by step; here a step keeps only what its derivative reads, and what does not depend on the
state is multiplied for many steps at once, as are the gradients of the matrices.

Promises: the values and gradients of the plain loop (`recurrent.scan`), first order only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from specc_runtime.layout import Axis, Rows, Steps
from specc_runtime.ops.regroup import regroup, rejoin
from specc_runtime.ops.rows import expand
from specc_runtime.tracing import untraced

# Rows of a value that are multiplied by its matrix at once, at least.
CHUNK = 1024

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

    def in_steps(self, steps: Steps) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """In the order of steps: what is multiplied, with the matrix and the bias; or the product alone."""
        if self.of is not None and self.to is not None and self.of is not self.to:
            whole = expand(F.linear(self.x, self.matrix, self.bias), self.of, self.to)
            return regroup(whole, steps.gather, steps.scatter), None, None
        return regroup(self.x, steps.gather, steps.scatter), self.matrix, self.bias


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
    sources = (
        x.in_steps(steps)
        if isinstance(x, Projected)
        else (regroup(x, steps.gather, steps.scatter), None, None)
        for x in values
    )
    walked: Tensors = _Walk.apply(  # type: ignore[no-untyped-call]
        cell,
        steps.active,
        (3 * len(values), len(constants), len(matrices), len(biases)),
        # Copies, in the order of steps: the walk may write over them.
        *(part for source in sources for part in source),
        *(regroup(x, steps.order, back_to) for x in constants),
        *matrices,
        *biases,
        *(regroup(x, steps.order, back_to) for x in states),
    )
    return tuple(rejoin(state, steps.scatter, steps.gather) for state in walked)


@dataclass(frozen=True)
class _Chunk:
    """Steps first .. stop, with the rows begin .. end, which are multiplied together: few enough to be in the
    processor's cache when the steps read them."""

    first: int
    stop: int
    begin: int
    end: int

    def of(self, whole: Tensor) -> Tensor:
        return whole[self.begin : self.end]

    @staticmethod
    def all(active: tuple[int, ...]) -> list[_Chunk]:
        found: list[_Chunk] = []
        first = begin = end = 0
        for number, running in enumerate(active):
            end += running
            if end - begin >= CHUNK or number == len(active) - 1:
                found.append(_Chunk(first, number + 1, begin, end))
                first, begin = number + 1, end
        return found


class _Walk(torch.autograd.Function):
    """The loop, over rows in the order of steps: [rows, w] values to [rows, w] states.

    Of each value there are three: itself, or what is multiplied, a matrix, and a bias.
    """

    @staticmethod
    def forward(
        ctx: Any, cell: Cell, active: tuple[int, ...], sizes: tuple[int, int, int, int], *given: Any
    ) -> Tensors:
        flat, constants, matrices, biases, states = _split(given, sizes)
        sources = _threes(flat)
        chunks = _Chunk.all(active)
        traces = tuple(s.new_empty(sum(active), s.shape[1]) for s in states)
        wanted = any(ctx.needs_input_grad)
        # The derivative reads all of what is multiplied; without it the place is used again.
        rows = sum(active) if wanted else max((c.end - c.begin for c in chunks), default=0)
        values = [x if matrix is None else x.new_empty(rows, len(matrix)) for x, matrix, _ in sources]
        kept: list[Tensors] = []
        current = states
        for chunk in chunks:
            seen = []
            for (x, matrix, bias), whole in zip(sources, values, strict=True):
                if matrix is None:
                    seen.append(chunk.of(whole))
                    continue
                seen.append(chunk.of(whole) if wanted else whole[: chunk.end - chunk.begin])
                torch.mm(chunk.of(x), matrix.t(), out=seen[-1])
                if bias is not None:
                    seen[-1].add_(bias)
            running = active[chunk.first : chunk.stop]
            traced = [chunk.of(t) for t in traces]
            for n, now, nexts in zip(
                running, _by_step(seen, running), _by_step(traced, running), strict=True
            ):
                held, before = tuple(c[:n] for c in constants), tuple(s[:n] for s in current)
                saved = cell.step(now, held, matrices, biases, before, nexts)
                if wanted:
                    kept.append(saved)
                current = nexts
        ctx.cell, ctx.active, ctx.sizes, ctx.kept, ctx.values = cell, active, sizes, kept, values
        ctx.save_for_backward(*given, *traces)
        return traces

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_traces: Tensor) -> tuple[Any, ...]:
        cell, active, count = ctx.cell, ctx.active, len(d_traces)
        given, traces = ctx.saved_tensors[:-count], ctx.saved_tensors[-count:]
        if not active:
            return (None, None, None, *(None if x is None else torch.zeros_like(x) for x in given))
        flat, constants, matrices, biases, starts = _split(given, ctx.sizes)
        sources = _threes(flat)
        sloped = cell.sloped or (True,) * len(sources)
        d_sources = [
            (
                torch.empty_like(x) if s else torch.zeros_like(x),
                *(None if w is None else torch.zeros_like(w) for w in (matrix, bias)),
            )
            for (x, matrix, bias), s in zip(sources, sloped, strict=True)
        ]
        d_constants, d_matrices, d_biases = (
            tuple(torch.zeros_like(x) for x in xs) for xs in (constants, matrices, biases)
        )
        chunks = _Chunk.all(active)
        rows = max(c.end - c.begin for c in chunks)
        # Where the derivatives of a chunk's products go; of other values all are wanted.
        places = [
            None if not s else d_x if matrix is None else x.new_empty(rows, len(matrix))
            for (x, matrix, _), (d_x, _, _), s in zip(sources, d_sources, sloped, strict=True)
        ]
        seen, traced, d_traced = (_by_step(xs, active) for xs in (ctx.values, traces, d_traces))
        carried: Perhaps = (None,) * count
        for chunk in reversed(chunks):
            size = chunk.end - chunk.begin
            d_values = [
                None if place is None else chunk.of(place) if matrix is None else place[:size]
                for place, (_, matrix, _) in zip(places, sources, strict=True)
            ]
            d_products = _places(cell, matrices, d_values, size)
            running = active[chunk.first : chunk.stop]
            into_values, into_products = _by_step(d_values, running), _by_step(d_products, running)
            factors: list[Tensors] = []
            for number in reversed(range(chunk.first, chunk.stop)):
                n = active[number]
                before = traced[number - 1] if number else starts
                d_held, carried, multiplied = cell.back(
                    seen[number],
                    tuple(c[:n] for c in constants),
                    matrices,
                    tuple(s[:n] for s in before),
                    ctx.kept[number],
                    tuple(_sum(d, more) for d, more in zip(d_traced[number], carried, strict=True)),
                    into_values[number - chunk.first],
                    into_products[number - chunk.first],
                )
                for total, part in zip(d_constants, d_held, strict=True):
                    if part is not None:
                        total[:n].add_(part)
                factors.append(multiplied)
            joined = _Joined()
            of_matrices = zip(d_matrices, d_products, zip(*factors, strict=True), strict=True)
            for total, d_product, parts in of_matrices:
                total.addmm_(d_product.t(), joined(parts))
            for total, number in zip(d_biases, cell.biased, strict=True):
                total.add_(d_products[number].sum(0))
            for d, source, d_source in zip(d_values, sources, d_sources, strict=True):
                if d is not None and source[1] is not None:
                    _multiplied(chunk, d, source, d_source)
        d_starts = (_sum(torch.zeros_like(s), d) for s, d in zip(starts, carried, strict=True))
        d_given = (part for three in d_sources for part in three)
        return (None, None, None, *d_given, *d_constants, *d_matrices, *d_biases, *d_starts)


def _multiplied(chunk: _Chunk, d: Tensor, source: tuple[Any, ...], d_source: tuple[Any, ...]) -> None:
    """From the derivative of a chunk's product those of what is multiplied, the matrix and the bias."""
    (x, matrix, _), (d_x, d_matrix, d_bias) = source, d_source
    torch.mm(d, matrix, out=chunk.of(d_x))
    d_matrix.addmm_(d.t(), chunk.of(x))
    if d_bias is not None:
        d_bias.add_(d.sum(0))


def _threes(sources: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [tuple(sources[i : i + 3]) for i in range(0, len(sources), 3)]


def _places(cell: Cell, matrices: Tensors, d_values: Sequence[Tensor | None], rows: int) -> Tensors:
    """For each matrix the derivative of its product at all steps of a chunk, [rows, out]."""
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


def _split(given: Sequence[Any], sizes: Sequence[int]) -> tuple[tuple[Any, ...], ...]:
    """Tensors by their sizes, and the rest."""
    parts: list[tuple[Any, ...]] = []
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
