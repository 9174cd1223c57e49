"""The scoring of a model in C: `forward` and its two parts, each as one call.

`scoring.c` of a model (specc.emit.scoring) begins with a line of JSON that says what each function is given:
an array of whole numbers, which are addresses, sizes, and the bits of numbers. It is built where it is first
asked for, once for each precision.

Promises: the values of the model's Python, up to rounding; None where a batch is not what C is made for, or
is not what it says: then the Python computes it, or says what is wrong. Nothing of a weight is kept: what is
changed in place, or replaced, counts from the next call on.
"""

from __future__ import annotations

import ctypes
import json
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from specc_runtime import stale
from specc_runtime.batch import Bag, Batch
from specc_runtime.native import build, source
from specc_runtime.native.kit import KIT
from specc_runtime.native.say import say, wanted
from specc_runtime.tracing import untraced

if TYPE_CHECKING:
    from specc_runtime.model import Model

_FLOATS = {torch.float32: True, torch.float64: False}


class _Not(Exception):
    """Raised for a batch that C is not made for."""


@lru_cache(maxsize=64)
def library(text: str, dtype: torch.dtype) -> Any:
    """The library of a text, or None if it cannot be built."""
    single = _FLOATS[dtype]
    try:
        found = build.library(source.file([KIT, text], single))
    except build.Failed as e:
        say(str(e))
        return None
    found.use_blas.argtypes = [ctypes.c_void_p]
    found.use_blas(_blas("sgemm_" if single else "dgemm_"))
    return found


@lru_cache(maxsize=2)
def _blas(name: str) -> int | None:
    """The address of the matrix product that torch itself calls, if it can be found."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")):
        try:
            return ctypes.cast(getattr(ctypes.CDLL(str(path)), name), ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None


class Scoring:
    """The functions of one model. text: its `scoring.c`."""

    def __init__(self, text: str) -> None:
        self.text = text
        about = json.loads(text.partition("\n")[0].removeprefix("//"))
        self.given: list[list[Any]] = about["given"]
        used: dict[str, list[int]] = about["used"]
        used["forward"] = [number for part in used.values() for number in part]
        self.used = {name: [n in numbers for n in range(len(self.given))] for name, numbers in used.items()}
        self.state: list[list[int]] = about["state"]
        self.results: dict[str, list[int]] = about["results"]

    def __reduce__(self) -> tuple[Any, ...]:
        return Scoring, (self.text,)

    def ready(self, dtype: torch.dtype) -> bool:
        """Whether there are functions for a precision; builds them."""
        return dtype in _FLOATS and library(self.text, dtype) is not None

    @untraced
    def forward(self, model: Model, batch: Batch) -> dict[str, Tensor] | None:
        """What the model's `forward` gives."""
        found = self._called("forward", model, batch, (), [*self.results.values()])
        return None if found is None else dict(zip(self.results, found, strict=True))

    @untraced
    def candidate_part(self, model: Model, state: Sequence[Tensor], batch: Batch) -> dict[str, Tensor] | None:
        """What the model's `candidate_part` gives."""
        found = self._called("candidate_part", model, batch, state, [*self.results.values()])
        return None if found is None else dict(zip(self.results, found, strict=True))

    @untraced
    def request_part(self, model: Model, batch: Batch) -> list[Tensor] | None:
        """The tensors of the state that the model's `request_part` gives."""
        return self._called("request_part", model, batch, (), self.state)

    def _called(
        self, name: str, model: Model, batch: Batch, state: Sequence[Tensor], sizes: Sequence[Sequence[int]]
    ) -> list[Tensor] | None:
        dtype = model.dtype
        if dtype not in _FLOATS or not wanted(batch.device, dtype) or torch.is_autocast_enabled("cpu"):
            return None
        functions = library(self.text, dtype)
        if functions is None:
            return None
        try:
            given = self._slots(name, model, batch, dtype)
            states = [number for x in state for number in _whole(x, dtype, None)]
        except (_Not, KeyError):
            return None
        found = (ctypes.c_int64 * (2 * max(len(sizes), 1) + 1))()
        if getattr(functions, name)(_numbers(given), _numbers(states), found):
            return None
        try:
            return [_copied(found[2 * n], found[2 * n + 1], size, dtype) for n, size in enumerate(sizes)]
        finally:
            functions.release(ctypes.c_int64(found[-1]))

    def _slots(self, name: str, model: Model, batch: Batch, dtype: torch.dtype) -> list[int]:
        """What a function is given, of what it uses."""
        given = [batch.size]
        for (kind, *about), used in zip(self.given, self.used[name], strict=True):
            if not used:
                given += [0] * _SLOTS[kind]
                continue
            match kind:
                case "weight":
                    given.append(_weight(model, about[0], dtype).data_ptr())
                case "table":
                    table = _weight(model, about[0], dtype)
                    if stale.owner_of(table) is not None:
                        raise _Not
                    given += (table.data_ptr(), len(table))
                case "number":
                    (bits,) = struct.unpack("q", struct.pack("d", getattr(model.part(about[0]), about[1])))
                    given.append(bits)
                case "ids":
                    given += _whole(batch.fields[about[0]], torch.int64, 1)
                case "numbers":
                    given += _whole(batch.fields[about[0]], torch.float32, 2)
                case "lengths":
                    given += _whole(batch.lengths[about[0]], torch.int64, 1)
                case "candidates":
                    given += (0, 0) if batch.candidates is None else _whole(batch.candidates, torch.int64, 1)
                case "bag":
                    bag = batch.fields[about[0]]
                    if not isinstance(bag, Bag):
                        raise _Not
                    given += _whole(bag.values, torch.int64, 1)
                    given += _whole(bag.lengths, torch.int64, 1)
                    given.append(0 if bag.weights is None else _whole(bag.weights, torch.float32, 1)[0])
                case _:
                    raise _Not
        return given


_SLOTS = {
    "weight": 1,
    "number": 1,
    "bag": 5,
    **dict.fromkeys(("table", "ids", "numbers", "lengths", "candidates"), 2),
}


def _numbers(given: Sequence[int]) -> Any:
    return (ctypes.c_int64 * len(given))(*given)


def _copied(address: int, rows: int, size: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A value that a function made."""
    found = torch.empty(rows, *size, dtype=dtype)
    ctypes.memmove(found.data_ptr(), address, found.nbytes)
    return found


def _weight(model: Model, path: str, dtype: torch.dtype) -> Tensor:
    """A weight by its path, as C reads it."""
    holder: Any = model
    *outer, name = path.split(".")
    for step in outer:
        holder = holder._modules[step]
    found = holder._parameters.get(name)
    if found is None:
        found = holder._buffers[name]
    if found.dtype is not dtype or not found.is_contiguous() or found.device.type != "cpu":
        raise _Not
    return found  # type: ignore[no-any-return]


def _whole(x: Any, dtype: torch.dtype, dims: int | None) -> tuple[int, int]:
    """The address of a tensor, and how many rows it has."""
    if not isinstance(x, Tensor) or x.dtype is not dtype or not x.is_contiguous() or x.device.type != "cpu":
        raise _Not
    if dims is not None and x.dim() != dims:
        raise _Not
    return x.data_ptr(), len(x)
