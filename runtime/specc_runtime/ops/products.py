"""Matrix products of values that were looked up in tables.

A part of a value that consists of few distinct table rows (`fields.repeated`) is multiplied once for each of
these rows, not at every position: a category's product with a matrix is the same in all histories.

Promises: the value and gradients of `F.linear`, some rows at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from specc_runtime.native import products as native
from specc_runtime.ops.autocast import in_single
from specc_runtime.ops.fields import Part, repeated
from specc_runtime.ops.tile import tiles
from specc_runtime.tracing import untraced

# From so many multiplications on products are computed in C: to call it takes longer than torch.
_IN_C = 2**21


class Source(NamedTuple):
    """A value x [rows, in]; or the product of x with the matrix [out, in], plus the bias.

    at: the rows of x to use, none twice; None for all in their order. columns: the columns of x that are
    multiplied by the matrix; the product of the others is in `addend` [few, out], of which row places[k, i]
    is added at row i for every k.
    """

    x: Tensor
    matrix: Tensor | None = None
    bias: Tensor | None = None
    at: Tensor | None = None
    columns: slice = slice(None)
    addend: Tensor | None = None
    places: Tensor | None = None

    @staticmethod
    def of(
        x: Tensor, matrix: Tensor, bias: Tensor | None, at: Tensor, looked_up: Sequence[Part] = ()
    ) -> Source:
        """Return a product in which rows that repeat are multiplied already."""
        few, columns = repeated(x, looked_up, len(matrix))
        if not few:
            return Source(x, matrix, bias, at)
        products = [F.linear(part.rows, matrix[:, part.start : part.stop]) for part in few]
        if bias is not None:
            products[0] = products[0] + bias
        begins = accumulate((len(product) for product in products), initial=0)
        places = [begin + part.places.index_select(0, at) for part, begin in zip(few, begins, strict=False)]
        return Source(x, matrix[:, columns], None, at, columns, torch.cat(products), torch.stack(places))

    def product(self, begin: int, end: int, out: Tensor, plus: Tensor | None = None) -> None:
        """Write rows begin .. end of the product, plus `plus`, into `out`, [end - begin, out]."""
        assert self.matrix is not None
        x, matrix = self._read(begin, end), self.matrix.t()
        if self.addend is not None:
            assert self.places is not None
            first, *others = self.places[:, begin:end]
            torch.index_select(self.addend, 0, first, out=out)
            for places in others:
                out.add_(self.addend.index_select(0, places))
            if plus is not None:
                out.add_(plus)
        elif plus is not None:
            out.copy_(plus)
        add = plus is not None or self.addend is not None
        if native.multiplied(x, self.matrix, self.bias, out, add, _IN_C):
            return
        if add:
            out.addmm_(x, matrix)
            if self.bias is not None:
                out.add_(self.bias)
        elif self.bias is not None:
            torch.addmm(self.bias, x, matrix, out=out)
        else:
            torch.mm(x, matrix, out=out)

    def derivatives(self, slope: bool) -> Source:
        """Return buffers for the gradients; `back` writes the one of x, if it has any."""
        every = self.at is None or len(self.at) == len(self.x)
        if slope and (every or self.x.is_cpu):
            d_x = torch.empty_like(self.x)
            if self.at is not None and not every:
                d_x.index_fill_(0, _others(self.at, len(self.x)), 0)
        else:
            d_x = torch.zeros_like(self.x)
        if self.addend is not None:
            # The gradient of the other columns flows through the addend.
            d_x[:, : self.columns.start] = 0
            d_x[:, self.columns.stop :] = 0
        return Source(d_x, zeros(self.matrix), zeros(self.bias), addend=zeros(self.addend))

    def back(self, begin: int, end: int, d: Tensor, into: Source) -> None:
        """Write the gradients of the operands, from the upstream gradient `d` of rows begin .. end."""
        assert self.matrix is not None
        assert into.matrix is not None
        x, d_x = self._read(begin, end), into.x[:, self.columns]
        found = native.slopes(x, self.matrix, d, (True, True, into.bias is not None), _IN_C)
        own, d_matrix, d_bias = found or (d @ self.matrix, None, None)
        assert own is not None
        if self.at is None:
            d_x[begin:end] = own
        else:
            d_x.index_copy_(0, self.at[begin:end], own)
        if d_matrix is None:
            into.matrix.addmm_(d.t(), x)
        else:
            into.matrix.add_(d_matrix)
        if into.bias is not None:
            into.bias.add_(d.sum(0) if d_bias is None else d_bias)
        if into.addend is not None:
            assert self.places is not None
            for places in self.places[:, begin:end]:
                into.addend.index_add_(0, places, d)

    def _read(self, begin: int, end: int) -> Tensor:
        x = self.x[:, self.columns]
        return x[begin:end] if self.at is None else x.index_select(0, self.at[begin:end])


@untraced
def product(
    x: Tensor,
    matrix: Tensor,
    bias: Tensor | None,
    at: Tensor,
    plus: Tensor | None = None,
    looked_up: Sequence[Part] = (),
) -> Tensor:
    """Return the product of some rows of x [rows, in] with a matrix [out, in], plus a bias [out] and a value
    [m, out]: [m, out].

    at: the rows, int64 [m], none twice. looked_up: the parts, if x is the result of `lookup`.
    """
    source = Source.of(x, matrix, bias, at.to(x.device), looked_up)
    found: Tensor = _Product.apply(plus, *source)  # type: ignore[no-untyped-call]
    return found


@in_single
class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plus: Tensor | None, *given: Any) -> Tensor:
        source = Source(*given)
        assert source.matrix is not None
        assert source.at is not None
        out = source.x.new_empty(len(source.at), len(source.matrix))
        for begin, end in tiles(len(out), out):
            source.product(begin, end, out[begin:end], None if plus is None else plus[begin:end])
        ctx.added = plus is not None
        ctx.columns = source.columns
        ctx.save_for_backward(*(None if isinstance(x, slice) else x for x in source))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        source = Source(*ctx.saved_tensors)._replace(columns=ctx.columns)
        found = source.derivatives(ctx.needs_input_grad[1])
        for begin, end in tiles(len(grad), grad):
            source.back(begin, end, grad[begin:end], found)
        parts = (d if isinstance(d, Tensor) else None for d in found)
        return (grad if ctx.added else None, *parts)


def _others(rows: Tensor, count: int) -> Tensor:
    """Return the rows of `count` that are not among some."""
    left = torch.ones(count, dtype=torch.bool, device=rows.device)
    left[rows] = False
    return left.nonzero().squeeze(1)


def zeros(x: Any) -> Tensor | None:
    """Return zeros for a gradient, or None if x is no tensor or cannot have one."""
    return torch.zeros_like(x) if isinstance(x, Tensor) and x.is_floating_point() else None


def add_crossed(total: Tensor, d: Tensor, x: Tensor) -> None:
    """Add d' x, of rows d [rows, m] and x [rows, k], to the gradient [m, k] of a matrix."""
    found = native.slopes(x, total, d, (False, True, False), _IN_C)
    if found is None or found[1] is None:
        total.addmm_(d.t(), x)
    else:
        total.add_(found[1])
