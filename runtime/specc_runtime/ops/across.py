"""Keys that are compared, and all examples of a batch side by side, for losses that compare them.

A value of all examples is [1, ..., examples, ..., width], the same for every row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specc_runtime.batch import NO_KEY
from specc_runtime.layout import Rows


def across(x: Tensor, dim: int) -> Tensor:
    """The values x [examples, ..., width] of all examples as one row, along dimension `dim`."""
    return x.movedim(0, dim - 1).unsqueeze(0)


def own(rows: Rows) -> Tensor:
    """Which of the examples is one's own, bool [examples, examples, 1]."""
    return torch.eye(rows.count, dtype=torch.bool, device=rows.layout.device).unsqueeze(-1)


def log_frequency(counts: Tensor, ids: Tensor) -> Tensor:
    """Logarithm of the share that each of some rows [n] has of all counts [rows]: [n, 1]. What was never met
    counts as met once."""
    counts = counts.clamp(min=1)
    return (counts.index_select(0, ids).log() - counts.sum().log()).unsqueeze(-1)


def same_key(a: Tensor, b: Tensor) -> Tensor:
    """Where two keys, int64 [..., 1], are the same; a key that is missing is like none."""
    return (a == b) & (a != NO_KEY)
