"""Which rows of which tables make a value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime import fetched
from specc_runtime.batch import Bag
from specc_runtime.devices import transfer


def begins(sizes: Sequence[int]) -> list[int]:
    """Return where each of several consecutive ranges begins, and where the last one ends."""
    return [0, *accumulate(sizes)]


class Use(NamedTuple):
    """One part of a value.

    table: its number. column: the part's first column. ids: table rows, int64 [m], one for each row of the
    value; with `lengths`, that many for each. mean: whether these are averaged. weights: what each is
    multiplied by, [m].
    """

    table: int
    column: int
    ids: Tensor
    lengths: Tensor | None = None
    mean: bool = False
    weights: Tensor | None = None

    @staticmethod
    def of(table: int, column: int, weight: Tensor, ids: Tensor | Bag, mode: str = "sum") -> Use:
        if isinstance(ids, Tensor):
            here = ids if ids.is_cpu and weight.is_cpu else transfer(ids, weight.device)
            return Use(table, column, fetched.places(weight, here))
        named, lengths = transfer(ids.values, weight.device), transfer(ids.lengths, weight.device)
        named = fetched.places(weight, named)
        if ids.weights is not None:
            shares = transfer(ids.weights, weight.device).to(weight.dtype)
            return Use(table, column, named, lengths, weights=shares)
        if ids.single:
            return Use(table, column, named)
        return Use(table, column, named, lengths, mode == "mean")

    @property
    def rows(self) -> int:
        return (self.ids if self.lengths is None else self.lengths).shape[0]

    def read(self, weight: Tensor, into: Tensor) -> None:
        """Write the part into its columns of the value."""
        if self.lengths is None:
            torch.index_select(weight, 0, self.ids, out=into)
        else:
            starts = self.lengths.cumsum(0) - self.lengths
            mode = "mean" if self.mean else "sum"
            into.copy_(F.embedding_bag(self.ids, weight, starts, mode=mode, per_sample_weights=self.weights))
