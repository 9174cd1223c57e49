"""The C of compiled models, by its hash.

The text of an artefact's `kernels.c` is entered when the model is loaded; a library is built of it when a
function is first wanted, one for each precision.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from specc_runtime.native import build, source
from specc_runtime.native.say import say

_TEXTS: dict[str, str] = {}


def enter(text: str) -> None:
    """Make a text of C known, by its sha256."""
    _TEXTS[hashlib.sha256(text.encode()).hexdigest()] = text


class Functions:
    """The functions of a library as attributes: of tensors [n, width], whose channels are side by side."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

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
    """The functions of the text of a hash. None where they can't be had: with a warning for want of a
    compiler, without one where the text was never entered."""
    if key not in _TEXTS:
        return None
    try:
        return Functions(build.library(source.file([_TEXTS[key]], single=dtype == torch.float32)))
    except build.Failed as e:
        say(str(e))
        return None
