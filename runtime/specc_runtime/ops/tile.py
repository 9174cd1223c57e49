"""A few rows at a time, where what is computed between is many times larger than what comes out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from specc_runtime.tracing import untraced

# Numbers of the largest value in between that a tile may have: in single precision a megabyte, which
# stays in a core's cache.
TILE = 2**18


@untraced
def tiled(function: Callable[..., Tensor], numbers: int, *values: Tensor) -> Tensor:
    """function(*values), tile by tile along the first dimension.

    values: [rows, ...], at least one, each of its own rows only. numbers: how many a row has where it
    has most. In between nothing is kept: the gradient computes it again, tile by tile.
    """
    rows = max(TILE // max(numbers, 1), 1)
    if len(values[0]) <= rows:
        return function(*values)
    tiles = zip(*(x.split(rows) for x in values), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([function(*tile) for tile in tiles])
    parts = [checkpoint(function, *tile, use_reentrant=False, preserve_rng_state=False) for tile in tiles]
    return torch.cat(parts)
