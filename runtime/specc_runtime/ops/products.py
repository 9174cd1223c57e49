"""Products with matrices, of what tables gave.

A part of a value that is the same few rows of a table over and over (`fields.repeated`) is multiplied once
for each of these rows, not at every position that names one: a category's product with a matrix is the same
in all histories.

Promises: the value and gradients of `F.linear`, some rows at a time.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime.ops.fields import repeated


class Source(NamedTuple):
    """A value x [rows, in]; or what is multiplied, with the matrix [out, in] and the bias.

    at: the rows of x in another order; None if it has the right one.
    columns: which of x are multiplied, the others being a part of `addend` [few, out], of which row
        places[k, i] is added at row i for every k.
    """

    x: Tensor
    matrix: Tensor | None = None
    bias: Tensor | None = None
    at: Tensor | None = None
    columns: slice = slice(None)
    addend: Tensor | None = None
    places: Tensor | None = None

    @staticmethod
    def of(x: Tensor, matrix: Tensor, bias: Tensor | None, at: Tensor) -> Source:
        """A product, of which rows that are named over and over are multiplied already."""
        few, columns = repeated(x, len(matrix))
        if not few:
            return Source(x, matrix, bias, at)
        products = [F.linear(part.rows, matrix[:, part.start : part.stop]) for part in few]
        if bias is not None:
            products[0] = products[0] + bias
        begins = accumulate((len(product) for product in products), initial=0)
        places = [begin + part.places.index_select(0, at) for part, begin in zip(few, begins, strict=False)]
        return Source(x, matrix[:, columns], None, at, columns, torch.cat(products), torch.stack(places))

    def product(self, begin: int, end: int, out: Tensor) -> None:
        """Write the product's rows begin .. end."""
        assert self.matrix is not None
        x, matrix = self._read(begin, end), self.matrix.t()
        if self.addend is not None:
            assert self.places is not None
            first, *others = self.places[:, begin:end]
            torch.index_select(self.addend, 0, first, out=out)
            for places in others:
                out.add_(self.addend.index_select(0, places))
            out.addmm_(x, matrix)
        elif self.bias is not None:
            torch.addmm(self.bias, x, matrix, out=out)
        else:
            torch.mm(x, matrix, out=out)

    def derivatives(self, slope: bool) -> Source:
        """Where the derivatives go; those of x are written by `back` if it has any."""
        d_x = torch.empty_like(self.x) if slope else torch.zeros_like(self.x)
        if self.addend is not None:
            # Of the other columns it is the addend that has one.
            d_x[:, : self.columns.start] = 0
            d_x[:, self.columns.stop :] = 0
        return Source(d_x, zeros(self.matrix), zeros(self.bias), addend=zeros(self.addend))

    def back(self, begin: int, end: int, d: Tensor, into: Source) -> None:
        """From the derivative of the product's rows begin .. end those of what it is made of."""
        assert self.matrix is not None
        assert into.matrix is not None
        d_x = into.x[:, self.columns]
        if self.at is None:
            torch.mm(d, self.matrix, out=d_x[begin:end])
        else:
            d_x.index_copy_(0, self.at[begin:end], d @ self.matrix)
        into.matrix.addmm_(d.t(), self._read(begin, end))
        if into.bias is not None:
            into.bias.add_(d.sum(0))
        if into.addend is not None:
            assert self.places is not None
            for places in self.places[:, begin:end]:
                into.addend.index_add_(0, places, d)

    def _read(self, begin: int, end: int) -> Tensor:
        x = self.x[:, self.columns]
        return x[begin:end] if self.at is None else x.index_select(0, self.at[begin:end])


def zeros(x: Any) -> Tensor | None:
    """Of a tensor that can have a derivative."""
    return torch.zeros_like(x) if isinstance(x, Tensor) and x.is_floating_point() else None
