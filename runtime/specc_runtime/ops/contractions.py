"""Sums of products along sequences, as a product of matrices for each sequence.

Sequences of similar length form a block, padded with zeros to the longest of the block (as in `attention`),
and a block is one batched product: what is made is as large as the factors and the result, not as their
product at every position.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specc_runtime.layout import Axis, Rows
from specc_runtime.ops.attention import Blocks
from specc_runtime.ops.dense import contract, dot
from specc_runtime.tracing import untraced


@untraced
def contract_rows(a: Tensor, b: Tensor, rows: Rows, axis: Axis, *dims: int, channels: bool = False) -> Tensor:
    """Return the sum of products along an axis, over some dimensions, which are removed, and over channels,
    which become one: [rows.without(axis).count, ...].

    a, b: [rows.count, ...]; their dimensions broadcast.
    """
    out = rows.without(axis)
    if rows.count == 0 or out.count == 0:
        nothing = contract(a[:1], b[:1], *dims, channels=channels)[:0]
        return nothing.new_zeros(out.count, *nothing.shape[1:]) + 0 * (a.sum() + b.sum())
    blocks = rows.layout.planned(Blocks.of, out.axes, rows.axes, None, axis)
    sizes = [sequences * longest for sequences, _, longest in blocks.shapes]
    places = blocks.from_keys.to(a.device)
    left, right = (_padded(x, places, sum(sizes)).split(sizes) for x in (a, b))
    inner = [1, *(dim + 1 for dim in dims)]
    parts = []
    for (sequences, _, longest), x, y in zip(blocks.shapes, left, right, strict=True):
        x, y = (part.unflatten(0, (sequences, longest)) for part in (x, y))
        parts.append(contract(x, y, *inner, channels=channels))
    return torch.cat(parts).index_select(0, blocks.from_queries.to(a.device))


@untraced
def dot_by_sequence(a: Tensor, b: Tensor, rows: Rows, of: Rows, axis: Axis) -> Tensor:
    """Return the sum of products over channels, [rows.count, ..., 1], of vectors a [rows.count, ..., w] and,
    for each of their sequences along an axis, b [of.count, ..., w], which is not repeated along it.

    of: the rows without the axis. The dimensions of a and b broadcast.
    """
    if rows.count == 0:
        nothing = dot(a[:0], b[:1] if len(b) else b)[:0]
        return nothing + 0 * (a.sum() + b.sum())
    blocks = rows.layout.planned(Blocks.of, of.axes, rows.axes, None, axis)
    sizes = [sequences * longest for sequences, _, longest in blocks.shapes]
    each = [sequences for sequences, _, _ in blocks.shapes]
    places, turn = blocks.from_keys.to(a.device), blocks.from_queries.to(a.device)
    left, right = _padded(a, places, sum(sizes)).split(sizes), _padded(b, turn, sum(each)).split(each)
    parts = []
    for (sequences, _, longest), x, y in zip(blocks.shapes, left, right, strict=True):
        parts.append(dot(x.unflatten(0, (sequences, longest)), y.unsqueeze(1)).flatten(0, 1))
    return torch.cat(parts).index_select(0, places)


def _padded(x: Tensor, places: Tensor, count: int) -> Tensor:
    """Return rows at places among `count`, 0 at the others."""
    if len(x) == count:
        return x.index_select(0, torch.argsort(places))
    return x.new_zeros(count, *x.shape[1:]).index_copy(0, places, x)
