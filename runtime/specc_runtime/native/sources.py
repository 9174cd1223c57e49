"""The C of compiled models, found by its hash.

Loading a model registers the text of its `kernels.c`. The first request for a function builds a library from
it, one for each precision.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from specc_runtime.native import blas

_TEXTS: dict[str, str] = {}


def enter(text: str) -> None:
    """Register a C text under its sha256."""
    _TEXTS[hashlib.sha256(text.encode()).hexdigest()] = text


class Functions:
    """A library's functions as attributes. They take tensors [n, width] whose channels are contiguous."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def multiplies(self, dtype: torch.dtype) -> bool:
        """Give the functions the matrix product that they call; return whether there is one."""
        found = blas.product(dtype)
        if found is not None:
            self._library.use_blas.argtypes = [ctypes.c_void_p]
            self._library.use_blas(found)
        from specc_runtime.native.products import panels

        use_panels = getattr(self._library, "use_panels", None)  # models of earlier versions have none
        if use_panels is not None:
            use_panels.argtypes = [ctypes.c_void_p] * 2
            use_panels(*panels(dtype))
        return found is not None

    def walk(self, name: str) -> Any:
        """A function of several steps of a recurrence: the first one, and the one after the last, rows before
        them, and the addresses of how many rows each step has, of addresses and of strides."""
        entry = getattr(self._library, name)
        entry.restype = None
        entry.argtypes = [*[ctypes.c_int64] * 3, *[ctypes.c_void_p] * 3]
        return entry

    def at(self, name: str) -> Any:
        """A function as it is, of addresses and a first number."""
        entry = getattr(self._library, name)
        entry.restype = None
        if entry.argtypes is None:
            # The number of rows, then addresses.
            entry.argtypes = [ctypes.c_int64, *[ctypes.c_void_p] * (4 if name.endswith("_back") else 3)]
        return entry

    def __getattr__(self, name: str) -> Callable[..., None]:
        entry = getattr(self._library, name)
        function = _called(entry)
        self.__dict__[name] = function
        return function


def _called(entry: Any) -> Callable[..., None]:
    entry.restype = None

    def call(*tensors: Tensor) -> None:
        if entry.argtypes is None:
            entry.argtypes = [ctypes.c_int64, *[ctypes.c_void_p, ctypes.c_int64] * len(tensors)]
        given: list[int] = []
        for tensor in tensors:
            given += (tensor.data_ptr(), tensor.stride(0))
        entry(len(tensors[0]), *given)

    return call


@lru_cache(maxsize=256)
def functions(key: str, dtype: torch.dtype) -> Functions | None:
    """Return the functions of the text with this hash, or None. A missing compiler gives a warning; a text
    that was never registered gives none."""
    if key not in _TEXTS:
        return None
    from specc_runtime.native.load import load

    found = load([_TEXTS[key]], dtype)
    return None if found is None else Functions(found)
