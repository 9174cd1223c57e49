"""Functions in C by what they take."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from specc_runtime.native import build, source
from specc_runtime.native.say import say

NUMBER, AT = ctypes.c_int64, ctypes.c_void_p


def real(dtype: torch.dtype) -> Any:
    """Return what C calls `real` in a precision."""
    return ctypes.c_float if dtype == torch.float32 else ctypes.c_double


def load(texts: Iterable[str], dtype: torch.dtype, **taken: Sequence[Any]) -> Any:
    """Return the library of some texts in a precision; None if it cannot be built, with a warning.

    taken: by function the types of its arguments, such as NUMBER, and AT for an address. Each returns an int,
    which says nothing if the function returns nothing.
    """
    try:
        library = build.library(source.file(texts, dtype == torch.float32))
    except build.Failed as error:
        say(str(error))
        return None
    for name, types in taken.items():
        getattr(library, name).argtypes = types
    return library
