"""Reductions over a ragged axis, as in `specc_runtime.ops.segment`: over nothing the result is 0."""

from __future__ import annotations

import torch
from torch import Tensor

from specc_runtime.layout import Axis
from specc_runtime.ops import dense
from specc_runtime.portable.layout import Rows
from specc_runtime.portable.sequences import Where, along


def sum(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    own = along(rows, axis)
    table = own.table(x)
    return (table if where is None else torch.where(own.table(where), table, 0)).sum(1)


def mean(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    own = along(rows, axis)
    table = own.table(x)
    mask = own.kept(table, where)
    kept = torch.ones_like(table[..., :1]) if mask is None else mask.to(x.dtype)
    total = table if mask is None else torch.where(mask, table, 0)
    return total.sum(1) / kept.sum(1).clamp(min=1)


def max(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    return dense.max(*_some(x, rows, axis, where))


def min(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    return dense.min(*_some(x, rows, axis, where))


def last(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    table, _, mask = _some(x, rows, axis, where)
    return _at(table, mask, _positions(table, mask))


def first(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    table, _, mask = _some(x, rows, axis, where)
    return _at(table, mask, table.shape[1] - 1 - _positions(table.flip(1), mask.flip(1)))


def _positions(table: Tensor, mask: Tensor) -> Tensor:
    """The last place that counts, int64 [sequences, 1, ..., 1]; some place where none does."""
    places = torch.arange(table.shape[1], device=table.device)
    return torch.where(mask, places.reshape(1, -1, *([1] * (mask.dim() - 2))), 0).amax(1, keepdim=True)


def _at(table: Tensor, mask: Tensor, place: Tensor) -> Tensor:
    shape = [table.shape[0], 1, *torch.broadcast_shapes(table.shape[2:], place.shape[2:])]
    whole = table.expand(table.shape[0], table.shape[1], *shape[2:])
    return torch.where(mask.any(1), whole.gather(1, place.expand(shape)).squeeze(1), 0)


def softmax(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    own = along(rows, axis)
    if own.mask is None and where is None:
        return own.packed(own.table(x).softmax(1))
    return _packed(x, rows, axis, dense.softmax(*_some(x, rows, axis, where)))


def log_softmax(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    return _packed(x, rows, axis, dense.log_softmax(*_some(x, rows, axis, where)))


def logsumexp(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    return dense.logsumexp(*_some(x, rows, axis, where))


def cumsum(x: Tensor, rows: Rows, axis: Axis, where: Where = None) -> Tensor:
    own = along(rows, axis)
    table = own.table(x)
    return own.packed((table if where is None else torch.where(own.table(where), table, 0)).cumsum(1))


def _some(x: Tensor, rows: Rows, axis: Axis, where: Where) -> tuple[Tensor, int, Tensor]:
    table, mask = along(rows, axis).some(x, where)
    return table, 1, mask


def _packed(x: Tensor, rows: Rows, axis: Axis, table: Tensor) -> Tensor:
    own = along(rows, axis)
    return own.packed(table.narrow(1, 0, own.longest) if own.mask is None else table)
