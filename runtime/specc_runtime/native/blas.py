"""The matrix product that torch itself calls, for C that multiplies."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

import torch

_NAMES = {torch.float32: "sgemm_", torch.float64: "dgemm_"}


def product(dtype: torch.dtype) -> int | None:
    """Return its address in this precision, if it can be found."""
    return _address(_NAMES[dtype])


def threads() -> int | None:
    """Return the address of a function that returns how many threads it would use, if it can be found."""
    return _address("mkl_get_max_threads")


@lru_cache(maxsize=4)
def _address(name: str) -> int | None:
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")):
        try:
            return ctypes.cast(getattr(ctypes.CDLL(str(path)), name), ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None
