"""Rows in another order, with padding where a kernel wants whole blocks.

An index in both directions makes the gradient a read too: nothing is added up row by row, as the
gradient of a plain `index_select` must in case an index occurs twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Regroup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return grad.index_select(0, back), None, None


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
    """Rows x [n, ...] as [m, ...], row i of which is row there[i]; back[j], int64 [n], is a place in
    the result where row j stands.

    Rows of the result that no `back` names are padding: whatever they hold, nothing may depend on it.
    """
    result: Tensor = _Regroup.apply(x, there.to(x.device), back.to(x.device))  # type: ignore[no-untyped-call]
    return result


def rejoin(x: Tensor, there: Tensor, back: Tensor) -> Tensor:
    """The inverse of `regroup`: x [m, ...] as [n, ...], row j of which is row there[j], no row twice.
    Rows that `there` does not name are padding and get no gradient; back is what was `there`."""
    result: Tensor = _Rejoin.apply(x, there.to(x.device), back.to(x.device))  # type: ignore[no-untyped-call]
    return result
