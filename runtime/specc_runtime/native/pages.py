"""Memory in large pages.

Rows that are read here and there in gigabytes of small pages wait for where their page is, too: longer than
for what is in it.
"""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import Any

from torch import Tensor

# Smaller ones have few pages of any size.
_LEAST = 2**23
# Linux's MADV_COLLAPSE, which mmap has no name for: pages that are in use already are gathered.
_GATHER = 25


def large(x: Tensor) -> Tensor:
    """The same tensor, in large pages if it is large and lies on a CPU, and the system has them (Linux)."""
    size = x.numel() * x.element_size()
    advise = _advise()
    if advise is not None and size >= _LEAST and x.device.type == "cpu" and x.is_contiguous():
        begin = -(-x.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (x.data_ptr() + size) // mmap.PAGESIZE * mmap.PAGESIZE
        # Advice: what a system does not know it does not follow.
        for what in (mmap.MADV_HUGEPAGE, _GATHER):
            advise(begin, end - begin, what)
    return x


@cache
def _advise() -> Any:
    """madvise; None where large pages are not asked for that way."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    try:
        found = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    found.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return found
