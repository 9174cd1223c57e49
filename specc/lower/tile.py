"""Which tiles are computed in C, a row at a time, with their derivative.

A tile in torch is some calls, whose values are as large as the tile; of a small batch the calls take the
time, of a large one their values' way through the caches. In C one row goes through all of it, in the nearest
cache.

Promises: nothing but what `specc.emit.tile` prints is chosen; a program is otherwise as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from specc import frozen
from specc.ir.graph import Weight
from specc.lower.program import Function, Kernel, Parameter, Program, Value, walk
from specc.ops import OPS, op
from specc.ops.definition import Effect, Pointwise

# Products are written out: of wider ones BLAS is quicker.
_WIDEST = 64
# Numbers of a row's values and their gradients: in single precision a megabyte, as a core's cache has.
_ROOM = 2**18
_ALONG = {
    "along": (2, (op.SUM, op.MEAN, op.SOFTMAX)),
    "channels": (1, (op.SUM, op.MEAN)),
}


@frozen.dataclass(frozen=True)
class TileInC:
    """A tile's function, which has a form in C. weights: the paths of those that it reads. numbers: how many
    the values of a row and their gradients have."""

    function: Function
    weights: tuple[str, ...]
    numbers: int

    def __str__(self) -> str:
        return "in C, a row at a time"


def choose(program: Program) -> None:
    """Have every tile that has a form in C say so."""
    functions = list(program.functions)
    if program.parts is not None:
        functions += [program.parts.request, program.parts.candidate]
    for function in functions:
        for kernel in walk(function):
            if (
                kernel.name == "by_tile"
                and (found := in_c(kernel.args[0], program.graph.weights)) is not None
            ):
                kernel.options = {**kernel.options, "in_c": found}


def in_c(function: Function, weights: Mapping[str, Weight]) -> TileInC | None:
    """How a tile's function is computed in C; None where something in it has no form there."""
    known, read = set(function.parameters), dict[str, None]()
    for kernel in function.kernels:
        if any(x not in known and x.dtype != "number" for x in kernel.operands()):
            return None
        if len(kernel.results) != 1 or kernel.results[0] is None or not _has_form(kernel, weights):
            return None
        read |= dict.fromkeys(weights_of(kernel, weights))
        known.add(kernel.result)
    room = sum(2 * prod(sizes_of(x)) for x in known)
    if len(function.results) != 1 or function.results[0] in function.parameters or room > _ROOM:
        return None
    return TileInC(function, tuple(read), room)


def sizes_of(value: Value) -> tuple[int, ...]:
    """The sizes of a value in one row."""
    return (*(a.size or 0 for a in value.shape.dims), value.width)


def weights_of(kernel: Kernel, weights: Mapping[str, Weight]) -> list[str]:
    """The paths of the weights that a kernel reads."""
    if kernel.name != op.LINEAR:
        return []
    path = kernel.args[0].path
    return [name for name in (f"{path}.weight", f"{path}.bias") if name in weights]


def _has_form(kernel: Kernel, weights: Mapping[str, Weight]) -> bool:
    if kernel.result.dtype != "real" or 0 in sizes_of(kernel.result):
        return False
    if kernel.name == op.PAIRS:
        return True
    if kernel.name == op.LINEAR:
        layer: Any = kernel.args[0]
        return isinstance(layer, Parameter) and max(weights[f"{layer.path}.weight"].shape) <= _WIDEST
    family, _, name = kernel.name.rpartition(".")
    if family in _ALONG:
        count, names = _ALONG[family]
        return name in names and len(kernel.args) == count and not kernel.options
    definition = OPS.get(kernel.name)
    if definition is None or kernel.options or not isinstance(definition.lowering, Pointwise):
        return False
    derivative = definition.derivative
    inputs = len(definition.inputs)
    return (
        bool(definition.lowering.c)
        and derivative is not None
        and len(derivative.c) == inputs == len(kernel.args)
        and all(derivative.c)
        and not definition.attrs
        and definition.effect({}) is Effect.PURE
    )
