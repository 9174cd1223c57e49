"""Put large tensors into large memory pages.

Random reads of rows from gigabytes in small pages miss the TLB: finding the page takes longer than reading
the row.
"""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import Any

from torch import Tensor

# In bytes. A smaller tensor spans few pages of any size.
_LEAST = 2**23
# Linux's MADV_COLLAPSE, for which mmap has no name: it merges pages that are already in use.
_GATHER = 25


def large(x: Tensor) -> Tensor:
    """Return the same tensor, moved to large pages if it is large, on a CPU, and the system supports it
    (Linux)."""
    size = x.numel() * x.element_size()
    advise = _advise()
    if advise is not None and size >= _LEAST and x.device.type == "cpu" and x.is_contiguous():
        begin = -(-x.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (x.data_ptr() + size) // mmap.PAGESIZE * mmap.PAGESIZE
        # Only advice: a system that does not know it ignores it, so errors do not matter.
        for what in (mmap.MADV_HUGEPAGE, _GATHER):
            advise(begin, end - begin, what)
    return x


@cache
def _advise() -> Any:
    """Return the C library's `madvise`, or None if this system has no such advice."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    try:
        found = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    found.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return found
