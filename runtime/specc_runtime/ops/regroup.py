"""Rows in another order, in blocks, and with padding for kernels that need it.

With an index for both directions the gradient is a gather too. The gradient of a plain `index_select` is a
scatter-add, because an index may occur twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from specc_runtime.ops.autocast import in_single


@in_single
class _Regroup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return grad.index_select(0, back), None, None


@in_single
class _Rejoin(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.count = len(x)
        ctx.save_for_backward(there, back)
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        there, back = ctx.saved_tensors
        if len(there) == len(back):
            return grad.index_select(0, back), None, None
        whole = grad.new_zeros(ctx.count, *grad.shape[1:])
        return whole.index_copy_(0, there, grad), None, None


def regroup(x: Tensor, there: Tensor, back: Tensor) -> Tensor:
    """Return rows x [n, ...] as [m, ...], whose row i is row there[i] of x. back, int64 [n]: for each row of
    x a place in the result where it stands.

    Rows of the result that `back` does not name are padding: nothing may depend on their values.
    """
    result: Tensor = _Regroup.apply(x, there.to(x.device), back.to(x.device))  # type: ignore[no-untyped-call]
    return result


def rejoin(x: Tensor, there: Tensor, back: Tensor) -> Tensor:
    """Return the inverse of `regroup`: x [m, ...] as [n, ...], whose row j is row there[j] of x, no row
    twice. Rows of x that `there` does not name are padding and get no gradient. back: the `there` of the
    `regroup`."""
    result: Tensor = _Rejoin.apply(x, there.to(x.device), back.to(x.device))  # type: ignore[no-untyped-call]
    return result


@in_single
class _Apart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *places: Tensor) -> tuple[Tensor, ...]:
        ctx.shape = x.shape
        ctx.save_for_backward(*places)
        return tuple(x.index_select(0, there) for there in places)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        whole = grads[0].new_empty(ctx.shape)
        for there, grad in zip(ctx.saved_tensors, grads, strict=True):
            whole.index_copy_(0, there, grad)
        return (whole, *(None for _ in grads))


@in_single
class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, places: tuple[Tensor, ...], *blocks: Tensor) -> Tensor:
        ctx.save_for_backward(*places)
        whole = blocks[0].new_empty(sum(map(len, places)), *blocks[0].shape[1:])
        for there, block in zip(places, blocks, strict=True):
            whole.index_copy_(0, there, block)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *(grad.index_select(0, there) for there in ctx.saved_tensors))


def apart(x: Tensor, places: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return rows x [n, ...] in blocks, at least one: row i of a block is row places[i] of x, with the
    block's places. Each row of x is in exactly one block."""
    blocks: tuple[Tensor, ...] = _Apart.apply(x, *(there.to(x.device) for there in places))  # type: ignore[no-untyped-call]
    return blocks


def together(blocks: Sequence[Tensor], places: Sequence[Tensor]) -> Tensor:
    """Return the inverse of `apart`."""
    whole: Tensor = _Together.apply(tuple(there.to(blocks[0].device) for there in places), *blocks)  # type: ignore[no-untyped-call]
    return whole
