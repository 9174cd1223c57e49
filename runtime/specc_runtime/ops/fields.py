"""Fields read through tables."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime.batch import Bag
from specc_runtime.devices import transfer


def embed(weight: Tensor, ids: Tensor) -> Tensor:
    """The rows of a table [n, w] that ids, int64 [rows], name: [rows, w]."""
    return F.embedding(transfer(ids, weight.device), weight, sparse=_by_row(weight))


def embed_bag(weight: Tensor, bag: Bag, mode: str) -> Tensor:
    """Sum, mean or max over the table rows of each bag: [rows, w]; 0 for an empty one."""
    values, lengths = transfer(bag.values, weight.device), transfer(bag.lengths, weight.device)
    if mode != "max":
        offsets = lengths.cumsum(0) - lengths
        return F.embedding_bag(values, weight, offsets, mode=mode, sparse=_by_row(weight))
    found = F.embedding(values, weight, sparse=_by_row(weight))
    owner = torch.repeat_interleave(lengths, output_size=len(values))
    index = owner.unsqueeze(-1).expand_as(found)
    return weight.new_zeros(len(lengths), weight.shape[1]).scatter_reduce(
        0, index, found, "amax", include_self=False
    )


def _by_row(weight: Tensor) -> bool:
    """Whether the gradient of a table holds only the rows that are named (set by train.lazy)."""
    return getattr(weight, "sparse_gradient", False)
