"""Products with a matrix for each head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def per_head(x: Tensor, matrices: Tensor, dim: int) -> Tensor:
    """Return x [..., heads (at dim), ..., w] times matrices [heads, w, n], each head by its own: [..., n]."""
    moved = x.movedim(dim, 0)
    product = torch.bmm(moved.flatten(1, -2), matrices)
    shaped: Tensor = product.reshape(*moved.shape[:-1], matrices.shape[-1])
    return shaped.movedim(0, dim)


def fan(x: Tensor, matrices: Tensor, dim: int) -> Tensor:
    """Return x [..., w] times each of matrices [heads, w, n]: [..., heads (at dim), ..., n]."""
    side_by_side = F.linear(x, matrices.mT.flatten(0, 1))
    apart: Tensor = side_by_side.unflatten(-1, (len(matrices), -1))
    return apart.movedim(-2, dim)
