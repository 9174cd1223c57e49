"""Tiles computed in C, a row at a time (specc.emit.tile), as one autograd function.

Promises: the values and gradients of the tile's function in torch, up to rounding; None where there is no
kernel for what is given. Saves for backward nothing but what it is given.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from specc_runtime.native import sources
from specc_runtime.native.say import wanted


class TileInC(NamedTuple):
    """A function of a model's C. key: the hash of its text. weights: what it reads beside the tile's values.
    sizes: of a row of the result. room: how many numbers it needs for itself."""

    key: str
    name: str
    weights: Sequence[Tensor]
    sizes: Sequence[int]
    room: int

    def result(self, values: Sequence[Tensor]) -> Tensor | None:
        """The function of all rows of some values."""
        given = (*values, *self.weights)
        dtype = given[0].dtype
        if any(x.dtype is not dtype or not x.is_cpu for x in given) or not wanted(given[0].device, dtype):
            return None
        if torch.is_autocast_enabled("cpu"):
            return None
        functions = sources.functions(self.key, dtype)
        if functions is None:
            return None
        found: Tensor = _Tile.apply(functions, self, len(values), *given)  # type: ignore[no-untyped-call]
        return found


class _Tile(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, functions: sources.Functions, tile: TileInC, count: int, *given: Tensor) -> Tensor:
        given = tuple(x.contiguous() for x in given)
        ctx.functions, ctx.tile, ctx.count = functions, tile, count
        ctx.save_for_backward(*given)
        out = given[0].new_empty(len(given[0]), *tile.sizes)
        room = given[0].new_empty(tile.room)
        functions.at(tile.name)(len(out), _addresses(given), out.data_ptr(), room.data_ptr())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        given, tile, count = ctx.saved_tensors, ctx.tile, ctx.count
        grad = grad.contiguous()
        found = [torch.empty_like(x) if n < count else torch.zeros_like(x) for n, x in enumerate(given)]
        room = grad.new_empty(tile.room)
        call = ctx.functions.at(f"{tile.name}_back")
        call(len(grad), _addresses(given), grad.data_ptr(), _addresses(found), room.data_ptr())
        return None, None, None, *found


def _addresses(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(x.data_ptr() for x in tensors))
