"""Comparison of keys, and values of all examples of a batch side by side, for losses that compare examples.

A value of all examples is [1, ..., examples, ..., width], the same for every row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specc_runtime.batch import NO_KEY
from specc_runtime.layout import Rows


def across(x: Tensor, dim: int) -> Tensor:
    """Return the values x [examples, ..., width] of all examples as one row, with the examples along
    dimension `dim`."""
    return x.movedim(0, dim - 1).unsqueeze(0)


def own(rows: Rows) -> Tensor:
    """Return which example of the batch is the row's own, bool [examples, examples, 1]."""
    return torch.eye(rows.count, dtype=torch.bool, device=rows.layout.device).unsqueeze(-1)


def log_frequency(counts: Tensor, ids: Tensor) -> Tensor:
    """Return the logarithm of the share that each row of ids [n] has in all counts [rows]: [n, 1]. A row
    that was never counted is taken as counted once."""
    counts = counts.clamp(min=1)
    return (counts.index_select(0, ids).log() - counts.sum().log()).unsqueeze(-1)


def same_key(a: Tensor, b: Tensor) -> Tensor:
    """Return where two keys, int64 [..., 1], are equal; a missing key equals no key."""
    return (a == b) & (a != NO_KEY)
