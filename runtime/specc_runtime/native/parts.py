"""Straight-line code over rows: products, which are torch's, and what lies between two of them, in C."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from specc_runtime.native.source import Function, function
from specc_runtime.native.trace import Operand, Operation, Place, Trace, Unknown

# By number the tensors of one run: those given, and those made.
Tensors = list[Any]
Action = Callable[[Tensors], None]


class Parts:
    """A trace taken apart, and the functions of C that it wants: their texts.

    name: of the functions. wanted: the numbers of tensors that are read afterwards.
    Raises Unknown for an operation that has no counterpart here.
    """

    def __init__(self, trace: Trace, wanted: Sequence[int], name: str) -> None:
        self.made = len(trace.widths)
        self._parts = _apart(trace.operations)
        self._wanted = frozenset(wanted)
        self._functions: dict[int, tuple[Function, dict[int, int]]] = {}
        for number, part in enumerate(self._parts):
            if part[0].product:
                _check(part[0])
                continue
            fresh = {o.into.tensor: trace.widths[o.into.tensor] for o in part if o.fresh}
            kept = {i: width for i, width in fresh.items() if self._read_after(number, i)}
            own = {i: width for i, width in fresh.items() if i not in kept}
            made = function(f"{name}_{number}", part, own, trace.flat)
            if not set(made.rows) - set(kept):
                raise Unknown("rows that come from nowhere")
            self._functions[number] = made, kept

    @property
    def texts(self) -> list[str]:
        return [made.text for made, _ in self._functions.values()]

    def actions(self, library: ctypes.CDLL) -> list[Action]:
        """What to do, in order, with the functions of a library."""
        return [
            _call(getattr(library, self._functions[number][0].name), *self._functions[number])
            if number in self._functions
            else _product(part[0])
            for number, part in enumerate(self._parts)
        ]

    def _read_after(self, number: int, tensor: int) -> bool:
        later = (p for part in self._parts[number + 1 :] for o in part for p in o.places)
        return tensor in self._wanted or any(p.tensor == tensor for p in later)


def _apart(operations: Sequence[Operation]) -> list[list[Operation]]:
    """Each product by itself, and what lies between two."""
    parts: list[list[Operation]] = []
    for operation in operations:
        if operation.product or not parts or parts[-1][0].product:
            parts.append([])
        parts[-1].append(operation)
    return parts


def _call(entry: Any, function: Function, made: dict[int, int]) -> Action:
    """made: by number the widths of the tensors that come out of it."""
    address, distance = ctypes.c_void_p, ctypes.c_int64
    pairs, flat = [address, distance] * len(function.rows), [address] * len(function.flat)
    entry.argtypes, entry.restype = [ctypes.c_int64, *pairs, *flat], None
    like = next(i for i in function.rows if i not in made)

    def act(tensors: Tensors) -> None:
        rows = len(tensors[like])
        for number, width in made.items():
            tensors[number] = tensors[like].new_empty(rows, width)
        given: list[int] = []
        for number in function.rows:
            tensor = tensors[number]
            given += (tensor.data_ptr(), tensor.stride(0))
        entry(rows, *given, *(tensors[number].data_ptr() for number in function.flat))

    return act


def _check(product: Operation) -> None:
    if product.options or not all(isinstance(x, Place) for x in product.operands):
        raise Unknown("a product with options, or of a number")


def _product(operation: Operation) -> Action:
    """A product with a matrix, and what it is added to."""
    torch_s = torch.mm if operation.name == "mm" else torch.addmm
    number, into = operation.into.tensor, view(operation.into)
    given = [view(x) for x in operation.operands]

    def fresh(tensors: Tensors) -> None:
        tensors[number] = torch_s(*(read(tensors) for read in given))

    def over(tensors: Tensors) -> None:
        torch_s(*(read(tensors) for read in given), out=into(tensors))

    def added(tensors: Tensors) -> None:
        into(tensors).addmm_(*(read(tensors) for read in given[1:]))

    if operation.fresh:
        return fresh
    return added if operation.operands[0] == operation.into else over


def view(x: Operand) -> Callable[[Tensors], Tensor]:
    """How a place is read."""
    assert isinstance(x, Place)
    number, start, stop = x.tensor, x.start, x.start + x.width
    if x.whole:
        return lambda tensors: tensors[number]
    return lambda tensors: tensors[number][:, start:stop]
