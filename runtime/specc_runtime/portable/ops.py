"""What the portable form of a model calls, by the names of `specc_runtime.ops`: the same values, of
operations that torch.export and ONNX know.

Promises: whatever sizes are 0 or 1, no size is compared with another in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime.layout import Axis
from specc_runtime.ops import dense
from specc_runtime.ops.dense import bce, bernoulli, mse
from specc_runtime.ops.dense import log_of_sum as logsumexp
from specc_runtime.ops.ended import Ended
from specc_runtime.ops.others import log_frequency, same_key
from specc_runtime.ops.reading import windows
from specc_runtime.portable import segment
from specc_runtime.portable.fields import embed, embed_bag, lookup, whole
from specc_runtime.portable.layout import Rows, expand
from specc_runtime.portable.loops import scan, scan_along, scan_together, settled
from specc_runtime.portable.reading import at, at_rows, convolve, windows_of_rows
from specc_runtime.portable.rows import (
    along,
    append,
    chunk,
    flatten,
    head,
    heads,
    product,
    rename,
    repeat,
    tail,
    tails,
    top,
    unchunk,
    unroll,
)
from specc_runtime.portable.sequences import Sequences
from specc_runtime.portable.sequences import along as sequences


def concat(*parts: Tensor) -> Tensor:
    """Channels side by side; all other dimensions broadcast."""
    same = [_channel(p) for p in parts]
    shape = torch.broadcast_tensors(*same)[0].shape
    return torch.cat([p.expand(*shape[:-1], p.shape[-1]) for p in parts], -1)


def _channel(x: Tensor) -> Tensor:
    """One channel of a value, for its other dimensions."""
    return x[..., :1]


def stack(parts: Sequence[Tensor], dim: int) -> Tensor:
    """Values along a new dimension; their own dimensions broadcast."""
    return torch.stack(torch.broadcast_tensors(*parts), dim)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of products over channels: [..., 1]."""
    pairs = list(zip(a.shape[1:-1], b.shape[1:-1], strict=True))
    if any(m > 1 == n for m, n in pairs) and any(m == 1 < n for m, n in pairs):
        return contract(a, b, channels=True)
    return (a * b).sum(-1, keepdim=True)


def dot_by_sequence(a: Tensor, b: Tensor, rows: Rows, of: Rows, axis: Axis) -> Tensor:
    """Sum of products over channels of a, at rows, and b, at those without the axis."""
    return dot(a, expand(b, of, rows))


def contract_rows(a: Tensor, b: Tensor, rows: Rows, axis: Axis, *dims: int, channels: bool = False) -> Tensor:
    """Sum of products along an axis, over some dimensions and over channels: of every sequence, padded with
    zeros, a product of matrices."""
    own = sequences(rows, axis)
    inner = [1, *(dim + 1 for dim in dims)]
    return contract(own.table(a), own.table(b), *inner, channels=channels)


def contract(a: Tensor, b: Tensor, *dims: int, channels: bool = False) -> Tensor:
    """Sum of products over some dimensions, which are removed, and over channels, which become one: a product
    of matrices. All dimensions broadcast; rows, the first, are never summed."""
    last = a.dim() - 1
    summed = [*dims, last] if channels else [*dims]
    shape = torch.broadcast_shapes(a.shape[1:], b.shape[1:])
    sizes = dict(enumerate(shape, 1))
    kept = [d for d in sizes if d not in summed]
    of_a = [d for d in kept if b.shape[d] == 1 < a.shape[d]]
    of_b = [d for d in kept if a.shape[d] == 1 < b.shape[d]]
    both = [d for d in kept if d not in (*of_a, *of_b)]

    def matrices(x: Tensor, first: list[int], second: list[int]) -> Tensor:
        """[rows, *both, first, second]. What x lacks of `both` and `summed` broadcasts."""
        whole = x.expand(x.shape[0], *(sizes[d] if d in summed else x.shape[d] for d in sizes))
        other = [d for d in sizes if d not in (*both, *first, *second)]
        turned = whole.permute(0, *both, *first, *second, *other)
        own = (whole.shape[d] for d in both)
        return turned.reshape(x.shape[0], *own, prod(sizes[d] for d in first), prod(sizes[d] for d in second))

    found = matrices(a, of_a, summed) @ matrices(b, summed, of_b)
    order = [*both, *of_a, *of_b]
    apart = found.reshape(found.shape[0], *(sizes[d] for d in order))
    placed = apart.permute(0, *(1 + order.index(d) for d in kept))
    return placed.unsqueeze(-1) if channels else placed


def firsts(x: Tensor, dim: int) -> Tensor:
    """x_i for all i < j along a dimension, in the order (0,1), (0,2), ..., (1,2), ..."""
    size = x.shape[dim]
    return x.index_select(
        dim, torch.tensor([i for i in range(size) for _ in range(i + 1, size)], dtype=torch.int64)
    )


def seconds(x: Tensor, dim: int) -> Tensor:
    """x_j for all i < j along a dimension, in the order of `firsts`."""
    size = x.shape[dim]
    return x.index_select(
        dim, torch.tensor([j for i in range(size) for j in range(i + 1, size)], dtype=torch.int64)
    )


def pairs(x: Tensor, dim: int) -> Tensor:
    """x_i * x_j for all i < j along a dimension."""
    return firsts(x, dim) * seconds(x, dim)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log softmax(logits) at the class index `target` [..., 1]: [..., 1]."""
    chances = F.log_softmax(logits, -1)
    target = torch.broadcast_tensors(target, chances[..., :1])[0]
    return -chances.expand(*target.shape[:-1], chances.shape[-1]).gather(-1, target.long())


def linear(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., in] times a matrix [out, in], plus a bias [out]."""
    return F.linear(x, matrix, bias)


def add_product(total: Tensor, x: Tensor, matrix: Tensor) -> Tensor:
    """total [rows, out] + x [rows, in] times a matrix [out, in]."""
    return total + F.linear(x, matrix)


def per_head(x: Tensor, matrices: Tensor, dim: int) -> Tensor:
    """x [..., heads (at dim), ..., w] times matrices [heads, w, n], each head by its own: [..., n]."""
    moved = x.movedim(dim, -2)
    return (moved.unsqueeze(-2) @ matrices).squeeze(-2).movedim(-2, dim)


def fan(x: Tensor, matrices: Tensor, dim: int) -> Tensor:
    """x [..., w] times each of matrices [heads, w, n]: [..., heads (at dim), ..., n]."""
    side_by_side = F.linear(x, matrices.mT.flatten(0, 1))
    apart = side_by_side.reshape(*side_by_side.shape[:-1], matrices.shape[0], matrices.shape[2])
    return apart.movedim(-2, dim)


class Factor(NamedTuple):
    """One of two values that are multiplied at rows of both. matrix: None if it does not count by itself."""

    x: Tensor
    of: Rows
    matrix: Tensor | None = None


def paired(a: Factor, b: Factor, matrix: Tensor | None, bias: Tensor | None, rows: Rows) -> Tensor:
    """matrix (a * b) + a.matrix a + b.matrix b + bias at every row; without any matrix the sum of a * b over
    channels."""
    both = expand(a.x, a.of, rows) * expand(b.x, b.of, rows)
    if matrix is None:
        return both.sum(-1, keepdim=True)
    found = F.linear(both, matrix, bias)
    for factor in (a, b):
        if factor.matrix is not None:
            found = found + expand(F.linear(factor.x, factor.matrix), factor.of, rows)
    return found


def weighted_sum(weight: Tensor, x: Tensor, rows: Rows, axis: Axis, of: Rows | None = None) -> Tensor:
    """sum(weight * x, over axis)."""
    return segment.sum(weight * (x if of is None else expand(x, of, rows)), rows, axis)


def _whole(x: Tensor | Ended[Rows]) -> Tensor:
    """A value, put together if it is not."""
    return append(*x, None) if isinstance(x, Ended) else x


def attend(
    query: Tensor | Ended[Rows],
    key: Tensor | Ended[Rows],
    value: Tensor | Ended[Rows] | None,
    query_rows: Rows,
    key_rows: Rows,
    query_axis: Axis | None,
    key_axis: Axis,
    scale: float,
    where: str = "all",
) -> Tensor:
    """Attention in the sequences that queries and keys share, on a padded grid with a mask.

    query [query_rows.count, *heads, d], key [key_rows.count, *heads, d], value
    [key_rows.count, *heads, e], None for the keys themselves. Returns [query_rows.count, *heads, e].
    """
    query, key = _whole(query), _whole(key)
    given = key if value is None else _whole(value)
    shape = torch.broadcast_shapes(query.shape[1:-1], key.shape[1:-1], given.shape[1:-1])
    keys = sequences(key_rows, key_axis)
    asked = None if query_axis is None else sequences(query_rows, query_axis)
    several = [prod(shape)] if prod(shape) > 1 else []

    def grid(x: Tensor, by: Sequences | None) -> Tensor:
        """[sequences, heads, positions, d]; without heads where there is one."""
        x = x.expand(x.shape[0], *shape, x.shape[-1])
        x = x.reshape(x.shape[0], *several, x.shape[-1])
        table = x.unsqueeze(1) if by is None else by.table(x)
        return table.transpose(1, 2) if several else table

    score = (grid(query, asked) * scale) @ grid(key, keys).mT
    there = keys.mask.unsqueeze(1) if several and keys.mask is not None else keys.mask
    sight = _sight(where, score, None if there is None else there.unsqueeze(-2))
    if sight is None:
        weight = score.softmax(-1)
    else:
        hidden = ~sight
        weight = score.masked_fill(hidden, torch.finfo(score.dtype).min).softmax(-1).masked_fill(hidden, 0)
    seen = weight @ grid(given, keys)
    seen = seen.transpose(1, 2) if several else seen
    rows = asked.packed(seen) if asked is not None else seen.squeeze(1)
    return rows.reshape(query_rows.count, *shape, given.shape[-1])


def _sight(where: str, score: Tensor, there: Tensor | None) -> Tensor | None:
    """True where a query may look, broadcast to [sequences, heads, queries, keys]; None for everywhere."""
    if where == "all":
        return there
    queries = torch.arange(score.shape[-2], device=score.device).unsqueeze(1)
    keys = torch.arange(score.shape[-1], device=score.device).unsqueeze(0)
    by_place = {"until": keys <= queries, "before": keys < queries, "others": keys != queries}[where]
    return by_place if there is None else there & by_place


__all__ = [
    "Ended", "Factor", "add_product", "along", "append", "at", "at_rows", "attend", "bce", "bernoulli",
    "chunk", "concat", "contract", "contract_rows", "convolve", "cross_entropy", "dense", "dot",
    "dot_by_sequence", "embed", "embed_bag", "expand", "fan", "firsts", "flatten", "head", "heads",
    "linear", "log_frequency", "logsumexp", "lookup", "mse", "paired", "pairs", "per_head", "product",
    "rename", "repeat", "same_key", "scan", "scan_along", "scan_together", "seconds", "segment", "settled",
    "stack", "tail", "tails", "top", "unchunk", "unroll", "weighted_sum", "whole", "windows",
    "windows_of_rows",
]  # fmt: skip
