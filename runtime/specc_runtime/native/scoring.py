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
import weakref
from array import array
from collections.abc import Sequence
from functools import lru_cache
from operator import is_
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from specc_runtime import stale
from specc_runtime.batch import Bag, Batch
from specc_runtime.native import blas
from specc_runtime.native.kit import KIT
from specc_runtime.native.load import AT, NUMBER, load
from specc_runtime.native.say import wanted
from specc_runtime.tracing import untraced

if TYPE_CHECKING:
    from specc_runtime.model import Model

_FLOATS = (torch.float32, torch.float64)


class _Not(Exception):
    """Raised for a batch that C is not made for."""


@lru_cache(maxsize=64)
def library(text: str, dtype: torch.dtype) -> Any:
    """The library of a text, or None if it cannot be built."""
    parts = dict.fromkeys(("forward", "request_part", "candidate_part"), [AT] * 3)
    found = load([KIT, text], dtype, use_blas=[AT], use_threads=[AT], release=[NUMBER], **parts)
    if found is not None:
        found.use_blas(blas.product(dtype))
        found.use_threads(blas.threads())
    return found


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
        self._weights: _Weights | None = None

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
        weights = self._weights
        if weights is None or not weights.are_those_of(model):
            weights = self._weights = _Weights(
                model, [about[0] for kind, *about in self.given if kind in _OF_MODEL]
            )
        if not weights.can_be_read():
            return None
        dtype = weights.dtype
        if dtype not in _FLOATS or not wanted(batch.device, dtype) or torch.is_autocast_enabled("cpu"):
            return None
        functions = library(self.text, dtype)
        if functions is None:
            return None
        try:
            given = _numbers(self._slots(name, model, batch, weights))
            states = _numbers([number for x in state for number in _whole(x, dtype, None)])
        except (_Not, KeyError):
            return None
        found = (ctypes.c_int64 * (2 * max(len(sizes), 1) + 1))()
        if getattr(functions, name)(given.buffer_info()[0], states.buffer_info()[0], found):
            return None
        try:
            return [_copied(found[2 * n], found[2 * n + 1], size, dtype) for n, size in enumerate(sizes)]
        finally:
            functions.release(found[-1])

    def _slots(self, name: str, model: Model, batch: Batch, weights: _Weights) -> list[int]:
        """What a function is given, of what it uses."""
        given, rest = weights.given(self, name, model)
        given[0], fields = batch.size, batch.fields
        for at, kind, path in rest:
            match kind:
                case "ids":
                    # As `_whole`: models may have many fields.
                    x = fields[path]
                    if type(x) is not Tensor or x.dtype is not torch.int64 or x.dim() != 1:
                        raise _Not
                    if not x.is_contiguous() or not x.is_cpu:
                        raise _Not
                    given[at] = x.data_ptr()
                    given[at + 1] = x.size(0)
                case "numbers":
                    given[at : at + 2] = _whole(batch.fields[path], torch.float32, 2)
                case "lengths":
                    given[at : at + 2] = _whole(batch.lengths[path], torch.int64, 1)
                case "candidates":
                    if batch.candidates is not None:
                        given[at : at + 2] = _whole(batch.candidates, torch.int64, 1)
                case "bag":
                    bag = batch.fields[path]
                    if not isinstance(bag, Bag):
                        raise _Not
                    given[at : at + 2] = _whole(bag.values, torch.int64, 1)
                    given[at + 2 : at + 4] = _whole(bag.lengths, torch.int64, 1)
                    if bag.weights is not None:
                        given[at + 4] = _whole(bag.weights, torch.float32, 1)[0]
                case _:
                    raise _Not
        return given


_Slot = tuple[int, str, str]
"""Where something is given, its kind and its path."""
_OF_MODEL = ("weight", "table")
_SLOTS = {
    "weight": 1,
    "number": 1,
    "bag": 5,
    **dict.fromkeys(("table", "ids", "numbers", "lengths", "candidates"), 2),
}


def _numbers(given: Sequence[int]) -> array[int]:
    return array("q", given)


def _copied(address: int, rows: int, size: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A value that a function made."""
    found = torch.empty(rows, *size, dtype=dtype)
    ctypes.memmove(found.data_ptr(), address, found.nbytes)
    return found


class _Weights:
    """The weights that the functions of a model read. Where they are is looked up once, and looked up again
    where a part of the model has been replaced; what they hold is not kept."""

    def __init__(self, model: Model, paths: Sequence[str]) -> None:
        steps: dict[tuple[int, str], tuple[dict[str, Any], str, Any]] = {}
        self.held: list[tuple[dict[str, Any], str]] = []
        self.number = {path: number for number, path in enumerate(dict.fromkeys(paths))}
        self.model = weakref.ref(model)
        for path in self.number:
            holder: Any = model
            *outer, name = path.split(".")
            for step in outer:
                inner = holder._modules[step]
                steps[id(holder), step] = holder._modules, step, inner
                holder = inner
            self.held.append((holder._parameters if name in holder._parameters else holder._buffers, name))
        self.steps = [*steps.values()]
        self.tensors: list[Tensor] = []
        self.addresses: list[int] = []
        self.dtype = model.dtype
        self._given: dict[str, tuple[list[int], list[_Slot]]] = {}

    def are_those_of(self, model: Model) -> bool:
        """Whether they are still where they were."""
        return self.model() is model and all(inner.get(step) is x for inner, step, x in self.steps)

    def can_be_read(self) -> bool:
        """Whether C can read all of them as they are now: none is on another device, and no optimizer owes
        one of them steps."""
        tensors = [holder[name] for holder, name in self.held]
        addresses = [*map(Tensor.data_ptr, tensors)]
        if addresses != self.addresses or not all(map(is_, tensors, self.tensors)):
            self.dtype = tensors[0].dtype
            if any(x.dtype is not self.dtype or not x.is_cpu for x in tensors):
                return False
            self.tensors, self.addresses = tensors, addresses
            self._given.clear()
        if not all(map(Tensor.is_contiguous, tensors)):
            return False
        return not stale.is_any_owned() or all(stale.owner_of(x) is None for x in tensors)

    def given(
        self, scoring: Scoring, name: str, model: Model
    ) -> tuple[list[int], list[tuple[int, str, str]]]:
        """What a function is given of the model, and the slots that are left: where, and for what."""
        if name not in self._given:
            given, rest = [0], list[_Slot]()
            for (kind, *about), used in zip(scoring.given, scoring.used[name], strict=True):
                at = len(given)
                given += [0] * _SLOTS[kind]
                if not used:
                    continue
                if kind in _OF_MODEL:
                    number = self.number[about[0]]
                    given[at] = self.addresses[number]
                    if kind == "table":
                        given[at + 1] = self.tensors[number].size(0)
                elif kind == "number":
                    (given[at],) = struct.unpack(
                        "q", struct.pack("d", getattr(model.part(about[0]), about[1]))
                    )
                else:
                    rest.append((at, kind, about[0] if about else ""))
            self._given[name] = given, rest
        given, rest = self._given[name]
        return given.copy(), rest


def _whole(x: Any, dtype: torch.dtype, dims: int | None) -> tuple[int, int]:
    """The address of a tensor, and how many rows it has."""
    if not isinstance(x, Tensor) or x.dtype is not dtype or not x.is_contiguous() or not x.is_cpu:
        raise _Not
    if dims is not None and x.dim() != dims:
        raise _Not
    return x.data_ptr(), x.size(0)
