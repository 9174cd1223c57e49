"""Recurrences with a compiled derivative: a loop over a batch that shrinks, forward and backward.

A `Cell` is one step of a spec's `scan` and the derivative of that step, both straight-line code that the
compiler wrote. Autograd over a loop would record every operation of every step and add up the weights'
gradients step by step. Here a step saves only what its derivative reads; products that do not depend on the
state, and the gradients of matrices, are computed for many steps at once.

Promises: the values and gradients of the plain loop (`recurrent.scan`), first order only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from specc_runtime import native
from specc_runtime.layout import Axis, Rows, Steps
from specc_runtime.native.sources import Functions
from specc_runtime.ops.autocast import in_single
from specc_runtime.ops.by_steps import BySteps, by_step
from specc_runtime.ops.cells import Cell, Tensors
from specc_runtime.ops.fields import Part
from specc_runtime.ops.products import Source, add_crossed, zeros
from specc_runtime.ops.regroup import regroup, rejoin
from specc_runtime.ops.rows import expand
from specc_runtime.ops.steps_in_c import Chunk, InOneCall, StepsInC
from specc_runtime.tracing import untraced

# Numbers of a first step from which on it is worth looking whether all are 0.
_WORTH_ASKING = 2**14

# Which values of a state are wanted: at all positions; those, and again in the order of steps; only after
# the last step; or none.
ALL, BOTH, FINAL, NONE = "all", "both", "final", "none"


class Projected(NamedTuple):
    """A value of a recurrence that is a product: x [of.count, in] with a matrix [out, in] and a bias,
    expanded to the rows of `to`; `of` and `to` are None if x has the rows of the recurrence.

    in_steps: x in the order of steps, if another recurrence returned it so. looked_up: the parts, if x is
    the result of `lookup`.
    """

    x: Tensor
    matrix: Tensor
    bias: Tensor | None = None
    of: Rows | None = None
    to: Rows | None = None
    in_steps: Tensor | None = None
    looked_up: Sequence[Part] = ()


def _source(value: Tensor | Projected, steps: Steps) -> Source:
    """Return a value in the order of steps, or the product that computes it."""
    if isinstance(value, Tensor):
        # A copy, because the steps may write over it.
        return Source(regroup(value, steps.gather, steps.scatter))
    x, matrix, bias, of, to, in_steps, looked_up = value
    if of is not None and to is not None and of is not to:
        whole = expand(F.linear(x, matrix, bias), of, to)
        return Source(regroup(whole, steps.gather, steps.scatter))
    if in_steps is not None:
        return Source(in_steps, matrix, bias)
    return Source.of(x, matrix, bias, steps.gather.to(x.device), looked_up)


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
    wanted: Sequence[str] = (),
) -> tuple[Tensor | None, ...]:
    """Return the states at each position of a ragged axis.

    values: [rows.count, w], or a product that gives that; a step sees one position. constants, states (at
    the start): [rows.without(axis).count, w]. matrices: [out, in], biases: [out], the same at every step.
    wanted: for each state `ALL`, `BOTH`, `FINAL` or `NONE`; `ALL` if not given.

    Returns for each state: with `ALL`, its value at each position, [rows.count, w]; with `BOTH`, that and
    the same rows in the order of steps; with `FINAL`, its value after the last step,
    [rows.without(axis).count, w], 0 for an empty sequence; with `NONE`, None.
    """
    steps = rows.steps(axis, backward)
    wanted = tuple(wanted) or (ALL,) * len(states)
    back_to = torch.empty_like(steps.order)
    back_to[steps.order] = torch.arange(len(steps.order), device=back_to.device)
    sources = [_source(x, steps) for x in values]
    walked = iter(
        _Walk.apply(  # type: ignore[no-untyped-call]
            cell,
            steps,
            wanted,
            (len(Source._fields) * len(values), len(constants), len(matrices), len(biases)),
            *(part for source in sources for part in source),
            *(regroup(x, steps.order, back_to) for x in constants),
            *matrices,
            *biases,
            *(regroup(x, steps.order, back_to) for x in states),
        )
    )
    found: list[Tensor | None] = []
    for want in wanted:
        if want == NONE:
            found.append(None)
        elif want == FINAL:
            found.append(regroup(next(walked), back_to, steps.order))
        else:
            trace = next(walked)
            found.append(rejoin(trace, steps.scatter, steps.gather))
            found += [trace] if want == BOTH else []
    return tuple(found)


@in_single
class _Walk(torch.autograd.Function):
    """The loop, over rows in the order of steps. For each state it returns [rows, w], [sequences, w]
    (final), or nothing, as is wanted."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        steps: Steps,
        wanted: Sequence[str],
        sizes: tuple[int, int, int, int],
        *given: Any,
    ) -> Tensors:
        flat, constants, matrices, biases, states = _split(given, sizes)
        active, sources = steps.active, _sources(flat)
        cell, functions = _fitted(cell, sources, states[0], sum(active))
        chunks = Chunk.all(active, cell.at_once)
        traces = tuple(s.new_empty(sum(active), s.shape[1]) for s in states)
        keeps = any(ctx.needs_input_grad)
        # The derivative reads the products of all chunks; if there is none, chunks share one buffer.
        rows = sum(active) if keeps else max((c.end - c.begin for c in chunks), default=0)
        values = [s.x if s.matrix is None else s.x.new_empty(rows, len(s.matrix)) for s in sources]
        turned = tuple(m.t() for m in matrices)
        kept: list[Tensors] = []
        current = states
        whole = None
        if functions is not None and isinstance(cell.in_c, StepsInC):
            whole = InOneCall(cell.in_c, functions, active, states, matrices, rows, keeps)
        for chunk in chunks:
            seen = []
            for source, made in zip(sources, values, strict=True):
                if source.matrix is None:
                    seen.append(chunk.of(made))
                    continue
                seen.append(chunk.of(made) if keeps else made[: chunk.end - chunk.begin])
                source.product(chunk.begin, chunk.end, seen[-1])
            if whole is not None:
                whole.forward(chunk, seen, constants, biases, traces)
                continue
            running = active[chunk.first : chunk.stop]
            traced = [chunk.of(t) for t in traces]
            for n, now, nexts in zip(running, by_step(seen, running), by_step(traced, running), strict=True):
                held, before = tuple(c[:n] for c in constants), tuple(s[:n] for s in current)
                saved = cell.step(now, held, turned, biases, before, nexts)
                if keeps:
                    kept.append(saved)
                current = nexts
        ctx.cell, ctx.steps, ctx.wanted, ctx.sizes = cell, steps, wanted, sizes
        ctx.kept, ctx.values, ctx.whole = kept, values, whole
        ctx.columns = [x if isinstance(x, slice) else None for x in given]
        ctx.save_for_backward(*(None if isinstance(x, slice) else x for x in given), *traces)
        ends = steps.ends.to(states[0].device) if FINAL in wanted else None
        found = []
        for want, trace, start in zip(wanted, traces, states, strict=True):
            if want in (ALL, BOTH):
                found.append(trace)
            elif want == FINAL:
                assert ends is not None
                found.append(torch.zeros_like(start))
                torch.index_select(trace, 0, ends, out=found[-1][: len(ends)])
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_found: Tensor) -> tuple[Any, ...]:
        cell, active, wanted = ctx.cell, ctx.steps.active, ctx.wanted
        count = len(wanted)
        given, traces = ctx.saved_tensors[:-count], ctx.saved_tensors[-count:]
        given = [c if x is None else x for x, c in zip(given, ctx.columns, strict=True)]
        nothing = (None,) * 4
        if not active:
            return (*nothing, *(zeros(x) for x in given))
        flat, constants, matrices, biases, starts = _split(given, ctx.sizes)
        sources = _sources(flat)
        sloped = cell.sloped or (True,) * len(sources)
        d_sources = [s.derivatives(slope) for s, slope in zip(sources, sloped, strict=True)]
        d_constants, d_matrices, d_biases = (
            tuple(torch.zeros_like(x) for x in xs) for xs in (constants, matrices, biases)
        )
        chunks = Chunk.all(active, cell.at_once)
        rows = max(c.end - c.begin for c in chunks)
        # Gradients of products are needed for one chunk at a time; those of other values for all rows.
        places = [
            None if not slope else d.x if s.matrix is None else s.x.new_empty(rows, len(s.matrix))
            for s, d, slope in zip(sources, d_sources, sloped, strict=True)
        ]
        given_back = iter(d_found)
        d_states = [None if want == NONE else next(given_back) for want in wanted]
        walk: InOneCall | BySteps = ctx.whole or BySteps(cell.back, active, starts, matrices, ctx.kept)
        walk.begin(
            [d if want in (ALL, BOTH) else None for d, want in zip(d_states, wanted, strict=True)],
            [d if want == FINAL else None for d, want in zip(d_states, wanted, strict=True)],
        )
        for chunk in reversed(chunks):
            size = chunk.end - chunk.begin
            d_values = [
                None if place is None else chunk.of(place) if source.matrix is None else place[:size]
                for place, source in zip(places, sources, strict=True)
            ]
            d_products = cell.d_products(matrices, d_values, size)
            factors = walk.backward(chunk, ctx.values, constants, traces, d_values, d_products, d_constants)
            begins = [0 if chunk.first else _zeros(factor, active[0]) for factor in factors]
            for total, d_product, factor, n in zip(d_matrices, d_products, factors, begins, strict=True):
                add_crossed(total, d_product[n:], factor[n:])
            for total, number in zip(d_biases, cell.biased, strict=True):
                total.add_(d_products[number].sum(0))
            for d, source, d_source in zip(d_values, sources, d_sources, strict=True):
                if d is not None and source.matrix is not None:
                    source.back(chunk.begin, chunk.end, d, d_source)
        d_starts = [torch.zeros_like(s) for s in starts]
        for whole, part in zip(d_starts, walk.carried, strict=True):
            if part is not None:
                whole[: len(part)] = part
        d_given = (d if isinstance(d, Tensor) else None for source in d_sources for d in source)
        return (*nothing, *d_given, *d_constants, *d_matrices, *d_biases, *d_starts)


def _zeros(factor: Tensor, count: int) -> int:
    """Return how many of the first rows there is nothing in: `count`, those of the first step, or none. On
    another device it would take longer to ask."""
    if count * factor.shape[1] < _WORTH_ASKING or factor.device.type != "cpu":
        return 0
    return 0 if factor[:count].any() else count


def _fitted(cell: Cell, sources: Sequence[Source], like: Tensor, rows: int) -> tuple[Cell, Functions | None]:
    """Return the cell and the C of all its steps, if it has any and there are enough rows to be worth
    compiling it. A cell with C between its products has its functions in that form."""
    in_c = cell.in_c
    widths = sum(s.x.shape[1] if s.matrix is None else len(s.matrix) for s in sources)
    if in_c is None or rows * widths < in_c.least:
        return cell, None
    if isinstance(in_c, StepsInC):
        return cell, in_c.functions(like)
    functions = native.functions(in_c.source, like.dtype) if native.wanted(like.device, like.dtype) else None
    if functions is None:
        return cell, None
    return replace(cell, step=partial(in_c.step, functions), back=partial(in_c.back, functions)), None


def _sources(flat: Sequence[Any]) -> list[Source]:
    size = len(Source._fields)
    return [Source(*flat[i : i + size]) for i in range(0, len(flat), size)]


def _split(given: Sequence[Any], sizes: Sequence[int]) -> tuple[tuple[Any, ...], ...]:
    """Return the tensors in groups of these sizes, and the rest."""
    parts: list[tuple[Any, ...]] = []
    begin = 0
    for size in sizes:
        parts.append(tuple(given[begin : begin + size]))
        begin += size
    return (*parts, tuple(given[begin:]))
