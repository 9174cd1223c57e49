"""What the portable form of a model calls, by the names of `specc_runtime.ops`: the same values, of
operations that torch.export and ONNX know.

Promises: whatever sizes are 0 or 1, no size is compared with another in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime.layout import Axis
from specc_runtime.ops import dense
from specc_runtime.ops.across import log_frequency, same_key
from specc_runtime.ops.dense import bce, bernoulli, mse
from specc_runtime.ops.reading import windows
from specc_runtime.portable import segment
from specc_runtime.portable.fields import embed, embed_bag, lookup
from specc_runtime.portable.layout import Rows, expand
from specc_runtime.portable.loops import scan, scan_along, scan_together, settled
from specc_runtime.portable.reading import at, at_rows, convolve, windows_of_rows
from specc_runtime.portable.rows import (
    along,
    append,
    flatten,
    head,
    heads,
    product,
    rename,
    repeat,
    tail,
    tails,
    top,
    unroll,
)
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
    return (a * b).sum(-1, keepdim=True)


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


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
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
    given = key if value is None else value
    shape = torch.broadcast_shapes(query.shape[1:-1], key.shape[1:-1], given.shape[1:-1])
    keys = sequences(key_rows, key_axis)
    asked = None if query_axis is None else sequences(query_rows, query_axis)

    def grid(x: Tensor, by: object) -> Tensor:
        """[sequences, heads, positions, d]."""
        x = x.expand(x.shape[0], *shape, x.shape[-1])
        x = x.flatten(1, -2) if shape else x.unsqueeze(1)
        table = by.table(x) if by is not None else x.unsqueeze(1)  # type: ignore[attr-defined]
        return table.transpose(1, 2)

    score = (grid(query, asked) * scale) @ grid(key, keys).transpose(2, 3)
    sight = _sight(where, score, None if keys.mask is None else keys.mask)
    if sight is None:
        weight = score.softmax(-1)
    else:
        hidden = ~sight
        weight = score.masked_fill(hidden, torch.finfo(score.dtype).min).softmax(-1).masked_fill(hidden, 0)
    seen = (weight @ grid(given, keys)).transpose(1, 2)
    rows = asked.packed(seen) if asked is not None else seen.squeeze(1)
    return rows.reshape(query_rows.count, *shape, given.shape[-1])


def _sight(where: str, score: Tensor, there: Tensor | None) -> Tensor | None:
    """True where a query may look, broadcast to [sequences, heads, queries, keys]; None for everywhere."""
    sight = None if there is None else there[:, None, None, :]
    if where == "all":
        return sight
    queries = torch.arange(score.shape[2], device=score.device).unsqueeze(1)
    keys = torch.arange(score.shape[3], device=score.device).unsqueeze(0)
    by_place = {"until": keys <= queries, "before": keys < queries, "others": keys != queries}[where]
    return by_place if sight is None else sight & by_place


__all__ = [
    "Factor", "add_product", "along", "append", "at", "at_rows", "attend", "bce", "bernoulli", "concat",
    "convolve", "cross_entropy", "dense", "dot", "embed", "embed_bag", "expand", "fan", "firsts",
    "flatten", "head", "heads", "log_frequency", "lookup", "mse", "paired", "pairs", "per_head",
    "product", "rename", "repeat", "same_key", "scan", "scan_along", "scan_together", "seconds",
    "segment", "settled", "stack", "tail", "tails", "top", "unroll", "weighted_sum", "windows",
    "windows_of_rows",
]  # fmt: skip
