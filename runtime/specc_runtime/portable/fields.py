"""Fields read through tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime.batch import Bag
from specc_runtime.portable.layout import owners


def whole(weight: Tensor) -> Tensor:
    """All rows of a table as one value, [1, rows, width]."""
    return weight.unsqueeze(0)


def embed(weight: Tensor, ids: Tensor) -> Tensor:
    """The rows of a table [n, w] that ids, int64 [rows], name: [rows, w]."""
    return F.embedding(ids, weight)


def embed_bag(weight: Tensor, bag: Bag, mode: str) -> Tensor:
    """Sum, mean or max over the table rows of each bag: [rows, w]; 0 for an empty one."""
    found = F.embedding(bag.values, weight)
    lengths = bag.lengths
    starts = lengths.cumsum(0) - lengths
    owner = owners(lengths, starts, found.shape[0]).unsqueeze(-1).expand(found.shape)
    if mode == "max":
        lowest = found.new_zeros(lengths.shape[0], found.shape[1]) - torch.inf
        largest = lowest.scatter_reduce(0, owner, found, "amax", include_self=True)
        return torch.where((lengths > 0).unsqueeze(-1), largest, 0)
    if bag.weights is not None:
        found = found * bag.weights.to(found.dtype).unsqueeze(-1)
    total = found.new_zeros(lengths.shape[0], found.shape[1]).scatter_add(0, owner, found)
    return total / lengths.clamp(min=1).to(found.dtype).unsqueeze(-1) if mode == "mean" else total


def lookup(*values: Sequence[Any]) -> tuple[Tensor, ...]:
    """For each value its parts side by side: [rows, sum of w]."""
    return tuple(
        torch.cat([embed(*part) if len(part) == 2 else embed_bag(*part) for part in parts], -1)
        for parts in values
    )
