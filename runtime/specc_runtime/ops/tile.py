"""Compute a few rows at a time, where intermediate values are larger than the result.

The intermediate values of a whole batch would be written to memory and read again; those of a few rows stay
in the processor's cache, and backward computes them again instead of saving them. An accelerator works best
on many rows, so there all rows are one tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from specc_runtime.layout import Axis, Rows
from specc_runtime.native import paired as native_paired
from specc_runtime.native import weighted as native_weighted
from specc_runtime.native.say import wanted
from specc_runtime.native.tile import TileInC
from specc_runtime.ops.autocast import in_single
from specc_runtime.ops.fields import Again, Part
from specc_runtime.tracing import untraced

# From how many rows of the result on a row of the other factor is worth a matrix of its own.
_ROWS_EACH = 6

# How many numbers the largest value of a tile has: in single precision a megabyte, which fits in a core's
# cache. With smaller tiles the calls of torch would take most of the time.
TILE = 2**18


@untraced
def by_tile(
    function: Callable[..., Tensor], rows: int, *values: Tensor, in_c: TileInC | None = None
) -> Tensor:
    """Return function(*values), computed `rows` rows at a time, or a row at a time in C, if there is such a
    kernel.

    values: [n, ...], at least one; a row of the result depends only on the same row of each. Nothing is
    saved for backward but the values: it computes each tile again.
    """
    if in_c is not None and (found := in_c.result(values)) is not None:
        return found
    if len(values[0]) <= rows or values[0].device.type != "cpu":
        return function(*values)
    pieces = zip(*(x.split(rows) for x in values), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([function(*tile) for tile in pieces])
    return torch.cat([_Recomputed(function, tile).result() for tile in pieces])


class _Recomputed:
    """A function of tensors whose backward computes it again instead of saving anything.

    As torch.utils.checkpoint, which takes a millisecond a call to provide for what is not here: randomness,
    other devices, functions that differ from call to call.
    """

    def __init__(self, function: Callable[..., Tensor], given: Sequence[Tensor]) -> None:
        self.function, self.given = function, given
        self.count = 0
        # By the number of what was saved, its value, until it is read.
        self.kept: dict[int, Tensor] = {}
        self.lowered = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None

    def result(self) -> Tensor:
        with saved_tensors_hooks(self._number, self._value):
            return self.function(*self.given)

    def _number(self, _: Tensor) -> int:
        self.count += 1
        return self.count - 1

    def _value(self, number: int) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("what is computed by tiles has no second derivative")
        if number not in self.kept:
            self._compute()
        return self.kept.pop(number)

    def _compute(self) -> None:
        self.kept = {}

        def keep(x: Tensor) -> Tensor:
            kept = self.kept[len(self.kept)] = x.detach()
            return kept[:0]  # of these nothing is computed

        given = [x.detach().requires_grad_(x.requires_grad) for x in self.given]
        lowered = nullcontext() if self.lowered is None else torch.autocast("cpu", self.lowered)
        with torch.enable_grad(), lowered, saved_tensors_hooks(keep, lambda x: x):
            self.function(*given)


def tiled(function: Callable[..., Tensor], numbers: int, *values: Tensor) -> Tensor:
    """Return the same as `by_tile`, for models of an interface before 3. numbers: how many numbers the
    widest value has in a row."""
    return by_tile(function, max(TILE // max(numbers, 1), 1), *values)


@untraced
def weighted_sum(weight: Tensor, x: Tensor, rows: Rows, axis: Axis, of: Rows | None = None) -> Tensor:
    """Return sum(weight * x, over axis): [rows.without(axis).count, ..., w].

    weight [rows.count, ..., 1], x [of.count, ..., w]; `of` is None if their rows are the same. The
    dimensions between are the same.
    """
    out = rows.without(axis)
    ids, places = rows.index(out).to(x.device), _places(rows, of, x)
    found: Tensor = _WeightedSum.apply(weight, x, ids, places, out.count)  # type: ignore[no-untyped-call]
    return found


class Factor(NamedTuple):
    """One of two values that are multiplied at rows of both: x [of.count, ..., w].

    matrix: [n, w], None if x has no term of its own. looked_up: the parts, if x is the result of `lookup`.
    """

    x: Tensor
    of: Rows
    matrix: Tensor | None = None
    looked_up: Sequence[Part] = ()


@untraced
def paired(
    a: Factor,
    b: Factor,
    matrix: Tensor | None,
    bias: Tensor | None,
    rows: Rows,
    in_c_from: int | None = None,
) -> Tensor:
    """Return matrix (a * b) + a.matrix a + b.matrix b + bias at every row, [rows.count, n]; without any
    matrix the sum of a * b over channels, [rows.count, ..., 1], with the dimensions that both have between.

    matrix [n, w], bias [n]. in_c_from: from how many numbers in the factor that has the rows of the result on
    the kernel in C is used; None: never.
    """
    if in_c_from is not None and matrix is not None:
        for few, many in ((a, b), (b, a)):
            in_c = _by_segment(few, many, matrix, bias, rows, in_c_from)
            if in_c is not None:
                return in_c
    given: list[Tensor | None] = []
    for factor in (a, b):
        places = _places(rows, factor.of, factor.x)
        if factor.matrix is None or places is None:
            given += [factor.x, factor.matrix, None, places]
        else:
            # A factor with fewer rows than the result is multiplied before it is expanded.
            given += [factor.x, None, F.linear(factor.x, factor.matrix, bias), places]
            bias = None
    again = Again.of(a.x, a.looked_up), Again.of(b.x, b.looked_up)
    found: Tensor = _Paired.apply(again, matrix, *given)  # type: ignore[no-untyped-call]
    return found if bias is None else found + bias


def _by_segment(
    few: Factor, many: Factor, matrix: Tensor, bias: Tensor | None, rows: Rows, least: int
) -> Tensor | None:
    """Return the same in C, where each row of one factor has a run of rows in the other, or None."""
    if many.of is not rows or few.of is not rows.prefix or many.x.numel() < max(least, 1):
        return None
    # To make a segment's matrix, and what its gradient gives, is as much work as some of its rows.
    if rows.count < _ROWS_EACH * few.of.count or many.x.dim() > 2 or not wanted(many.x.device, many.x.dtype):
        return None
    if few.x.dtype is not many.x.dtype or torch.is_autocast_enabled("cpu"):
        return None
    added = None if few.matrix is None else F.linear(few.x, few.matrix, bias)
    again = Again.of(many.x, many.looked_up)
    found = native_paired.paired(many.x, few.x, matrix, many.matrix, added, rows.lengths, again)
    return found if found is None or added is not None or bias is None else found + bias


def _places(rows: Rows, of: Rows | None, x: Tensor) -> Tensor | None:
    """Return for each row the row of x that belongs to it, or None if they are the same."""
    return None if of is None or of is rows else rows.index(of).to(x.device)


@in_single
class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, x: Tensor, ids: Tensor, places: Tensor | None, count: int
    ) -> Tensor:
        ctx.in_c = native_weighted.functions(weight, x)
        if ctx.in_c is not None:
            weight, x = weight.contiguous(), x.contiguous()
        ctx.save_for_backward(weight, x, ids, places)
        total = x.new_zeros(count, *x.shape[1:])
        if ctx.in_c is not None:
            ctx.in_c.weigh(weight, x, ids, places, total)
            return total
        for begin, end in tiles(len(ids), x):
            total.index_add_(0, ids[begin:end], weight[begin:end] * _rows(x, places, begin, end))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        weight, x, ids, places = ctx.saved_tensors
        wants_weight, wants_x = ctx.needs_input_grad[:2]
        d_weight = torch.empty_like(weight) if wants_weight else None
        d_x = _gradient(x, places) if wants_x else None
        if ctx.in_c is not None:
            # Of what is concatenated the gradient is columns of a wider one.
            grad = grad if grad.dim() == 2 and grad.stride(1) == 1 else grad.contiguous()
            ctx.in_c.back(weight, x, ids, places, grad, d_weight, d_x)
            return d_weight, d_x, None, None, None
        for begin, end in tiles(len(ids), x):
            d = grad.index_select(0, ids[begin:end])
            if d_weight is not None:
                torch.sum(d * _rows(x, places, begin, end), -1, keepdim=True, out=d_weight[begin:end])
            if d_x is None:
                continue
            if places is None:
                torch.mul(d, weight[begin:end], out=d_x[begin:end])
            else:
                d_x.index_add_(0, places[begin:end], d.mul_(weight[begin:end]))
        return d_weight, d_x, None, None, None


@in_single
class _Paired(torch.autograd.Function):
    """The autograd function of `paired`. For each factor it takes x, its own matrix, the term added at its
    rows instead, and the index of its rows."""

    @staticmethod
    def forward(ctx: Any, again: Sequence[Again | None], matrix: Tensor | None, *given: Any) -> Tensor:
        # Not saved if it can be read again: backward already holds x's gradient from later readers and makes
        # another one here, and x would be a third tensor of that size.
        ctx.again = {i: x for i, x in zip((0, 4), again, strict=True) if x is not None}
        ctx.save_for_backward(matrix, *(None if i in ctx.again else x for i, x in enumerate(given)))
        (a, _, _, of_a), (b, _, _, of_b) = given[:4], given[4:]
        count = len(a) if of_a is None else len(of_a)
        found: Tensor = a.new_empty(count, *a.shape[1:-1], 1 if matrix is None else len(matrix))
        for begin, end in tiles(count, a):
            product = _rows(a, of_a, begin, end) * _rows(b, of_b, begin, end)
            part = found[begin:end]
            if matrix is None:
                torch.sum(product, -1, keepdim=True, out=part)
                continue
            torch.mm(product, matrix.t(), out=part)
            for x, own, addend, of in (given[:4], given[4:]):
                if own is not None:
                    part.addmm_(x[begin:end], own.t())
                if addend is not None:
                    part.add_(_rows(addend, of, begin, end))
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        matrix, *given = ctx.saved_tensors
        given = [ctx.again.get(i, x) for i, x in enumerate(given)]
        wanted = ctx.needs_input_grad[1:]
        d_matrix = torch.zeros_like(matrix) if wanted[0] else None
        d_given: list[Tensor | None] = [None] * 8
        for number in (0, 4):
            x, own, addend, of = given[number : number + 4]
            if wanted[number + 1]:
                d_given[number] = _gradient(x, of)
            if own is not None and wanted[number + 2]:
                d_given[number + 1] = torch.zeros_like(own)
            if addend is not None and wanted[number + 3]:
                d_given[number + 2] = torch.zeros_like(addend)
        for begin, end in tiles(len(grad), given[0]):
            d = grad[begin:end]
            tile = [_rows(given[number], given[number + 3], begin, end) for number in (0, 4)]
            if d_matrix is not None:
                d_matrix.addmm_(d.t(), tile[0] * tile[1])
            d_product = d if matrix is None else d @ matrix
            for number, mine, other in ((0, tile[0], tile[1]), (4, tile[1], tile[0])):
                _, own, _, of = given[number : number + 4]
                d_x, d_own, d_addend = d_given[number : number + 3]
                if d_x is not None:
                    part = d_x[begin:end] if of is None else torch.empty_like(mine)
                    torch.mul(d_product, other, out=part)
                    if own is not None:
                        part.addmm_(d, own)
                    if of is not None:
                        d_x.index_add_(0, of[begin:end], part)
                if d_own is not None:
                    d_own.addmm_(d.t(), mine)
                if d_addend is not None:
                    d_addend.index_add_(0, of[begin:end], d)
        return None, d_matrix, *d_given


def tiles(rows: int, like: Tensor | Again) -> Iterator[tuple[int, int]]:
    """Yield where tiles begin and end."""
    numbers = max(like.shape[1:].numel(), 1)
    step = max(TILE // numbers, 1) if like.device.type == "cpu" else max(rows, 1)
    for begin in range(0, rows, step):
        yield begin, min(begin + step, rows)


def _rows(x: Tensor | Again, places: Tensor | None, begin: int, end: int) -> Tensor:
    return x[begin:end] if places is None else x.index_select(0, places[begin:end])


def _gradient(x: Tensor | Again, places: Tensor | None) -> Tensor:
    """Return a buffer for the gradient of x; 0 where rows are read by index, because they are added up."""
    found = x.new_empty(x.shape)
    return found if places is None else found.zero_()
