"""Reductions over a ragged axis: packed values [rows.count, ...] to one for each row of
`rows.without(axis)`.

`where` is a boolean mask [rows.count, ..., 1]: positions at which it is False do not count.

Promises: over nothing the result is 0 and so is its gradient; no NaN arises from an empty axis.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specc_runtime.layout import Axis, Rows

Where = Tensor | None


def _ids(x: Tensor, rows: Rows, axis: Axis) -> tuple[Tensor, int]:
    out = rows.without(axis)
    return rows.index(out).to(x.device), out.count


def sum(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    ids, count = _ids(x, rows, axis)
    if where is not None:
        x = torch.where(where, x, 0)
    return x.new_zeros(count, *x.shape[1:]).index_add(0, ids, x)


def mean(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    total = sum(x, rows, axis, where)
    if where is not None:
        counts = sum(where.to(x.dtype), rows, axis)
    else:
        lengths = rows.without(axis).lengths_of(axis).to(x.device, x.dtype)
        counts = lengths.reshape(-1, *([1] * (x.dim() - 1)))
    return total / counts.clamp(min=1)


def max(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    return _extreme(x, rows, axis, where, "amax", -torch.inf)


def min(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    return _extreme(x, rows, axis, where, "amin", torch.inf)


def _extreme(x: Tensor, rows: Rows, axis: Axis, where: Where, kind: str, worst: float) -> Tensor:
    if where is not None:
        x = torch.where(where, x, worst)
    ids, count = _ids(x, rows, axis)
    index = ids.reshape(-1, *([1] * (x.dim() - 1))).expand_as(x)
    found = x.new_zeros(count, *x.shape[1:]).scatter_reduce(0, index, x, kind, include_self=False)
    # A segment in which every position is masked.
    return found if where is None else torch.where(found == worst, 0, found)


def last(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    if where is None:
        return _at(x, rows, axis, rows.without(axis).lengths_of(axis) - 1)
    position = rows.position(axis).to(x.device).reshape(-1, *([1] * (x.dim() - 1)))
    return _at(x, rows, axis, _extreme_position(torch.where(where, position, -1), rows, axis, "amax"))


def first(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    if where is None:
        return _at(x, rows, axis, (rows.without(axis).lengths_of(axis) - 1).clamp(max=0))
    # Counted down from the bound, so that the first position is a maximum too and -1 means none.
    position = axis.bound - rows.position(axis).to(x.device).reshape(-1, *([1] * (x.dim() - 1)))
    found = _extreme_position(torch.where(where, position, -1), rows, axis, "amax")
    return _at(x, rows, axis, torch.where(found < 0, -1, axis.bound - found))


def _extreme_position(position: Tensor, rows: Rows, axis: Axis, kind: str) -> Tensor:
    """Return the largest position of each segment, int64 [out, ..., 1]; -1 for none."""
    ids, count = _ids(position, rows, axis)
    index = ids.reshape(-1, *([1] * (position.dim() - 1))).expand_as(position)
    return position.new_full((count, *position.shape[1:]), -1).scatter_reduce(0, index, position, kind)


def _at(x: Tensor, rows: Rows, axis: Axis, position: Tensor) -> Tensor:
    """Return the values at one position of the axis for each row without it, int64 [out] or [out, ..., 1]; 0
    where it is negative."""
    out = rows.without(axis)
    if rows.count == 0:
        return x.new_zeros(out.count, *x.shape[1:])
    there = (position >= 0).to(x.device)
    index = out.locate(rows, {axis: position.clamp(min=0).to(out.layout.device)}).to(x.device)
    index = index.clamp(0, rows.count - 1)
    if index.dim() == 1:
        return torch.where(there.reshape(-1, *([1] * (x.dim() - 1))), x.index_select(0, index), 0)
    return torch.where(there, torch.take_along_dim(x, index, 0), 0)


def cumsum(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    """Return at each position the sum up to and with it, of positions where `where` is True: [rows.count,
    ...]."""
    if where is not None:
        x = torch.where(where, x, 0)
    ids, count = _ids(x, rows, axis)
    place = ids * axis.bound + rows.position(axis).to(x.device)
    whole = x.new_zeros(count * axis.bound, *x.shape[1:]).index_copy(0, place, x)
    sums = whole.reshape(count, axis.bound, *x.shape[1:]).cumsum(1)
    return sums.reshape(whole.shape).index_select(0, place)


def logsumexp(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    """Return the logarithm of the sum of exp(x); 0 over nothing."""
    ids, count = _ids(x, rows, axis)
    _, total, largest = _exponentials(x, ids, count, where)
    return torch.where(total == 0, 0, largest + torch.where(total == 0, 1, total).log())


def log_softmax(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    """Return the logarithm of `softmax`; 0 where `where` is False."""
    found = x - logsumexp(x, rows, axis, where).index_select(0, _ids(x, rows, axis)[0])
    return found if where is None else torch.where(where, found, 0)


def softmax(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    """Return exp(x) / sum exp(x) along the axis: [rows.count, ...]; 0 where `where` is False."""
    ids, count = _ids(x, rows, axis)
    parts, total, _ = _exponentials(x, ids, count, where)
    return parts / torch.where(total == 0, 1, total).index_select(0, ids)


def _exponentials(x: Tensor, ids: Tensor, count: int, where: Where) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp(x - m) [rows.count, ...], 0 where `where` is False, with the sums and the maxima m of each
    of `count` segments; both are 0 for an empty segment."""
    if where is not None:
        x = torch.where(where, x, -torch.inf)
    index = ids.reshape(-1, *([1] * (x.dim() - 1))).expand_as(x)
    with torch.no_grad():
        largest = x.new_zeros(count, *x.shape[1:]).scatter_reduce(0, index, x, "amax", include_self=False)
        largest = torch.where(largest == -torch.inf, 0, largest)
    parts = torch.exp(x - largest.index_select(0, ids))
    return parts, x.new_zeros(count, *x.shape[1:]).index_add(0, ids, parts), largest
