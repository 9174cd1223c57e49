"""States of requests that were scored before, the last used ones, within a bound of memory."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

import torch
from torch import Tensor

_OVERHEAD = 512  # bytes of an entry beside its key and its tensors, about


class States:
    """States by the bytes of their request. most: how many bytes they may have together, 0 for no state at
    all. Threads may share one.

    hits, misses: how often a state was there, and was not. bytes: how many they have now.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.hits = self.misses = self.bytes = 0
        self._known: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: bytes) -> Any | None:
        """The state of a request, which is the last to go now."""
        with self._lock:
            found = self._known.get(key)
            if found is None:
                self.misses += 1
                return None
            self.hits += 1
            self._known.move_to_end(key)
            return found[0]

    def put(self, key: bytes, state: tuple[Any, ...]) -> None:
        """Keep a state; the longest unused ones go where there is no room for it."""
        size = len(key) + _OVERHEAD + _bytes_of(state)
        if size > self.most:
            return
        with self._lock:
            before = self._known.pop(key, None)
            self.bytes += size - (before[1] if before is not None else 0)
            self._known[key] = state, size
            while self.bytes > self.most:
                _, (_, gone) = self._known.popitem(last=False)
                self.bytes -= gone


def _bytes_of(state: tuple[Any, ...]) -> int:
    """The memory that a state keeps: of views that of what they are views of, once."""
    held = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in _tensors(state)}
    return sum(held.values())


def _tensors(state: tuple[Any, ...]) -> list[Tensor]:
    return [x for x in state if isinstance(x, torch.Tensor)]
