"""Tables whose rows are fetched for each batch, as no process holds them all.

While a batch is computed, the weight of such a table is the distinct rows that the batch names, in the order
of their ids, and the batch goes on naming rows by their ids. Promises: who looks up rows asks `places` where
they are; of any other weight those are the ids themselves, at the cost of a glance at an empty dictionary. A
table that is read as a whole is never one of these (train.divided).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from specc_runtime.batch import Batch

# By a weight's id(): the weight, and the ids of its rows, ascending.
_IDS: dict[int, tuple[weakref.ref[Tensor], Tensor]] = {}


class Source(Protocol):
    """Where the rows of a model's tables are fetched from. Every process of a training does what a method
    does at the same time.

    shapes: by path, that of each table's weight. device: where fetched rows are. param_groups: of what
    updates them, as an optimizer has it.
    """

    shapes: Mapping[str, tuple[int, int]]
    device: torch.device
    param_groups: list[dict[str, Any]]

    def fetched(self, batch: Batch) -> AbstractContextManager[None]:
        """Have the model's tables hold the rows that a batch names."""

    def learn(self) -> None:
        """Update the rows that were fetched last by the gradients that they have."""

    def give(self, path: str, rows: Tensor | None, values: Tensor) -> None:
        """Have rows of a table (None: all) begin with other values: of the first process, before training."""

    def pieces(self, path: str) -> Iterator[Tensor]:
        """All rows of a table, on the CPU, some at a time."""


def hold(weight: Tensor, ids: Tensor) -> None:
    """Note which rows a weight holds. ids: of each its own, int64 [rows], distinct and ascending."""
    key = id(weight)
    _IDS[key] = weakref.ref(weight, lambda _: _IDS.pop(key, None)), ids


def is_fetched(weight: Tensor) -> bool:
    """Whether a weight holds some rows of its table alone."""
    found = _IDS.get(id(weight))
    return found is not None and found[0]() is weight


def places(weight: Tensor, ids: Tensor) -> Tensor:
    """Return which rows of a weight those of some ids are, int64 of the ids' shape. Raises KeyError where it
    does not hold one; on an accelerator the device does."""
    if not _IDS or not is_fetched(weight):
        return ids
    held = _IDS[id(weight)][1]
    if not ids.numel():
        return ids
    found = torch.searchsorted(held, ids).clamp_(max=max(len(held) - 1, 0))
    same = (held[found] == ids).all() if len(held) else torch.zeros((), dtype=torch.bool, device=ids.device)
    if ids.device.type != "cpu":
        torch._assert_async(same, "a row is read that was not fetched for the batch")
    elif not bool(same):
        raise KeyError("a row is read that was not fetched for the batch")
    return found
