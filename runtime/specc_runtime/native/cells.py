"""The step of a recurrence and its derivative, with all between their products in C."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from specc_runtime.native import build, source
from specc_runtime.native.parts import Parts, view
from specc_runtime.native.say import say
from specc_runtime.native.trace import Recorder, Unknown

if TYPE_CHECKING:
    from specc_runtime.ops.cell import Cell

Widths = tuple[int, ...]

# Rows of the tensors that a cell's functions are seen at work on: neither 1, which broadcasts, nor many.
_ROWS = 3


class Sizes(NamedTuple):
    """Of all that a cell's functions get: widths of rows, shapes of matrices [out, in], sizes of biases."""

    values: Widths
    constants: Widths
    matrices: tuple[Widths, ...]
    biases: Widths
    states: Widths
    dtype: torch.dtype


@lru_cache(maxsize=256)
def compiled(cell: Cell, sizes: Sizes) -> Cell:
    """A cell that does the same, quicker, with tensors of such sizes on the CPU.

    The cell itself where that can't be had; a warning says so where it is for want of a compiler.
    """
    sample = _Sample(cell, sizes)
    try:
        step, back = _functions(cell, sample)
        text = source.file([*step.parts.texts, *back.parts.texts], single=sizes.dtype == torch.float32)
        library = build.library(text)
    except Unknown:
        return cell
    except build.Failed as e:
        say(str(e))
        return cell
    return replace(cell, step=step.over(library), back=back.over(library))


class _Sample:
    """A few rows of everything that a cell's functions get."""

    def __init__(self, cell: Cell, sizes: Sizes) -> None:
        def full(*shapes: Widths) -> tuple[Tensor, ...]:
            return tuple(torch.full(shape, 0.5, dtype=sizes.dtype, device="cpu") for shape in shapes)

        def rows(widths: Iterable[int]) -> tuple[Tensor, ...]:
            return full(*((_ROWS, width) for width in widths))

        self.values, self.constants, self.states = map(rows, (sizes.values, sizes.constants, sizes.states))
        self.nexts, self.d_next = rows(sizes.states), rows(sizes.states)
        self.matrices, self.biases = full(*sizes.matrices), full(*((size,) for size in sizes.biases))
        sloped = cell.sloped or (True,) * len(sizes.values)
        self.d_values = tuple(
            d if slope else None for d, slope in zip(rows(sizes.values), sloped, strict=True)
        )
        self.d_products = cell.d_products(self.matrices, self.d_values, _ROWS)


class _Function:
    """One of a cell's functions in parts. result: of all tensors what it returns."""

    def __init__(self, parts: Parts, result: Callable[[list[Any]], Any]) -> None:
        self.parts = parts
        self.result = result

    def over(self, library: Any) -> Callable[..., Any]:
        """The function, with its arguments as those of the cell's."""
        actions, made, result = self.parts.actions(library), [None] * self.parts.made, self.result

        def call(*groups: Sequence[Tensor | None]) -> Any:
            tensors: list[Any] = [tensor for group in groups for tensor in group]
            tensors += made
            for act in actions:
                act(tensors)
            return result(tensors)

        return call


def _functions(cell: Cell, s: _Sample) -> tuple[_Function, _Function]:
    """The step, and its derivative, which reads what the step kept."""
    turned = tuple(m.t() for m in s.matrices)
    groups = (s.values, s.constants, turned, s.biases, s.states, s.nexts)
    recorder = Recorder([x for group in groups for x in group])
    kept = recorder.run(lambda: cell.step(*groups))
    # Values, constants and states the derivative gets anyway.
    first = len(s.values) + len(s.constants)
    states = first + len(s.matrices) + len(s.biases)
    at_hand = {*range(first), *range(states, states + len(s.states))}
    beside = sorted({recorder.place(x).tensor for x in kept} - at_hand)
    step = _Function(Parts(recorder.trace, beside, "step"), lambda tensors: tuple(tensors[i] for i in beside))
    return step, _back(cell, s, kept, [recorder.tensors[i] for i in beside])


def _back(cell: Cell, s: _Sample, kept: tuple[Tensor, ...], beside: Sequence[Tensor | None]) -> _Function:
    before, after = (s.values, s.constants, s.matrices, s.states), (s.d_next, s.d_values, s.d_products)
    recorder = Recorder([x for group in (*before, beside, *after) for x in group])
    found = recorder.run(lambda: cell.back(*before, kept, *after))
    places = [[None if x is None else recorder.place(x) for x in group] for group in found]
    read = [place.tensor for group in places for place in group if place is not None]
    views = [[(lambda _: None) if place is None else view(place) for place in group] for group in places]
    return _Function(
        Parts(recorder.trace, read, "back"),
        lambda tensors: tuple(tuple(one(tensors) for one in group) for group in views),
    )
