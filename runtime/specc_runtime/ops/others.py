"""Comparison of keys, and values of all examples of a batch side by side, for losses that compare examples.

A value of all examples is [1, ..., examples, ..., width], the same for every row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specc_runtime import ranks
from specc_runtime.batch import NO_KEY
from specc_runtime.layout import CANDIDATE, Axis, Layout, Rows, in_each
from specc_runtime.ops.rows import pick


def across(x: Tensor, dim: int) -> Tensor:
    """Return the values x [examples, ..., width] of all examples as one row, with the examples along
    dimension `dim`."""
    return ranks.gathered(x).movedim(0, dim - 1).unsqueeze(0)


def across_each(x: Tensor, of: Rows, to: Rows, old: tuple[Axis, ...], new: tuple[Axis, ...]) -> Tensor:
    """Return the values x [of.count, ...] of all examples of the batch as rows, [to.count, ...]: for each
    request those of every example. old, new: the axes of `of`, and what they are in each example."""
    ranks.whole("compares examples along axes of their own")
    return pick(x, to.layout.planned(_each, of.axes, to.axes, old, new))


def _each(
    layout: Layout, of: tuple[Axis, ...], to: tuple[Axis, ...], old: tuple[Axis, ...], new: tuple[Axis, ...]
) -> Tensor:
    return in_each(layout.rows(to), layout.rows(of), dict(zip(old, new, strict=True)))


def from_rows(x: Tensor, of: Rows, to: Rows, axis: Axis, dim: int) -> Tensor:
    """Return rows x [of.count, ...], one for each example of the batch, with the examples along dimension
    `dim`. axis: the examples'."""
    ranks.whole("compares examples along axes of their own")
    examples = of.layout[CANDIDATE].count
    if of.axes == (*to.axes, axis):
        return x.reshape(to.count, examples, *x.shape[1:]).movedim(1, dim)
    index: Tensor = to.layout.planned(_rows_of, of.axes, to.axes, axis)
    found = pick(x, index.flatten())
    return found.reshape(*index.shape, *x.shape[1:]).movedim(1, dim)


def _rows_of(layout: Layout, of: tuple[Axis, ...], to: tuple[Axis, ...], axis: Axis) -> Tensor:
    """Return for each row of `to` the rows of all examples, int64 [to.count, examples]."""
    rows = layout.rows(to)
    examples = torch.arange(layout[CANDIDATE].count, device=layout.device)
    return rows.locate(layout.rows(of), {axis: examples.expand(rows.count, -1)})


def own(rows: Rows) -> Tensor:
    """Return which example of the batch is the row's own, bool [rows, examples, 1]."""
    first, count = ranks.before(rows.count)
    own = torch.arange(first, first + rows.count, device=rows.layout.device)
    return (own.unsqueeze(1) == torch.arange(count, device=own.device)).unsqueeze(-1)


def log_frequency(counts: Tensor, ids: Tensor) -> Tensor:
    """Return the logarithm of the share that each row of ids [n] has in all counts [rows]: [n, 1]. A row
    that was never counted is taken as counted once."""
    counts = counts.clamp(min=1)
    return (counts.index_select(0, ids).log() - counts.sum().log()).unsqueeze(-1)


def same_key(a: Tensor, b: Tensor) -> Tensor:
    """Return where two keys, int64 [..., 1], are equal; a missing key equals no key."""
    return (a == b) & (a != NO_KEY)
