"""Attention of every position, in C, of sequences whose last positions are apart from the others.

Promises: the values and first-order gradients of `attend_all` of the sequences put together, which they never
are in memory; up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from specc_runtime.native import small
from specc_runtime.native.self_attention import SIGHTS, library, room
from specc_runtime.ops.autocast import in_single

Pair = tuple[Tensor, Tensor]


def attend_ended(
    query: Pair, key: Pair, value: Pair | None, lengths: Tensor, scale: float, where: str
) -> Tensor | None:
    """Return the attention of each position: [positions, heads, e], a sequence after another.

    query, key, value: of all positions but the last ones, as `attend_all` takes them, and of the last one of
    each sequence; if value is None the keys are the values. lengths, int64 [n]: how many positions of the
    first kind each sequence has, which may be none.

    Returns None if there are no kernels.
    """
    (head, _), (keys, _), (values, _) = query, key, key if value is None else value
    kernel = library(
        head.shape[1], keys.shape[1], values.shape[1], head.shape[2], values.shape[2], head.dtype
    )
    if kernel is None:
        return None
    begins = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    longest = small.whole(int(lengths.max()) + 1)
    given = (begins, longest, scale, SIGHTS.index(where))
    found: Tensor = _Ended.apply(kernel, given, *query, *key, *(value or ()))  # type: ignore[no-untyped-call]
    return found


@in_single
class _Ended(torch.autograd.Function):
    """Of queries, keys and, if they are not the keys, values: of all positions but the last, and of these."""

    @staticmethod
    def forward(ctx: Any, library: Any, given: Any, *rows: Tensor) -> Tensor:
        rows = tuple(x.contiguous() for x in rows)
        begins, longest, scale, sight = given
        query, last, key, _, value, *_ = every = (*rows, *rows[2:])[:6]
        out = query.new_empty(len(query) + len(last), query.shape[1], value.shape[2])
        own = room(query, key, value, longest, _width(query, key, value))
        tensors = (*every, out, own)
        library.forward_ended(len(last), begins.data_ptr(), scale, sight, *(x.data_ptr() for x in tensors))
        ctx.library, ctx.given = library, given
        ctx.save_for_backward(*rows)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        begins, longest, scale, sight = ctx.given
        rows = ctx.saved_tensors
        query, last, key, _, value, *_ = every = (*rows, *rows[2:])[:6]
        found = [torch.empty_like(x) for x in rows]
        into = [x.data_ptr() for x in found] + [None] * (6 - len(found))
        own = room(query, key, value, longest, 2 * _width(query, key, value))
        grad = grad.contiguous()
        addresses = (x.data_ptr() for x in (*every, grad))
        ctx.library.backward_ended(
            len(last), begins.data_ptr(), scale, sight, *addresses, *into, own.data_ptr()
        )
        return None, None, *found


def _width(*tensors: Tensor) -> int:
    """Return how many numbers a position of some tensors [rows, heads, w] has."""
    return sum(x.shape[1] * x.shape[2] for x in tensors)
