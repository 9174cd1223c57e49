"""What the compiler wrote of a recurrence: one step and its derivative, in Python and in C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from specc_runtime.native import say

if TYPE_CHECKING:
    from specc_runtime.ops.steps_in_c import StepsInC

Tensors = tuple[Tensor, ...]
Perhaps = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class InC:
    """The step and derivative of a cell with everything between their matrix products in C, of models of an
    interface before 5.

    source: the hash of the C text (native.sources). step, back: as a cell's, with the C functions as an
    additional first argument. least: from how many numbers in all steps together on they are used.
    """

    source: str
    step: Callable[..., Any]
    back: Callable[..., Any]
    least: int = say.FROM


@dataclass(frozen=True)
class Cell:
    """One step of a recurrence and its derivative. Every tensor of a step is [n, width], for n sequences
    that still run.

    step(values, constants, matrices, biases, states, nexts) -> kept: writes the next states into
        `nexts` and returns what `back` reads. It may write over `values`. The matrices are
        transposed, [in, out].
    back(values, constants, matrices, states, kept, d_next, d_values, d_products) -> (d_constants,
        d_states, factors): writes the gradients of the values and of the matrix products [n, out]
        into `d_values` and `d_products`. Returns the gradients of constants and states, None where
        there is none, and for each matrix [out, in] the factor it was multiplied by, [n, in].
    sloped: for each value whether it has a gradient; empty if all have.
    places: for each matrix where the gradient of its product is stored: (number of a value, start,
        stop) for these channels of that value's gradient, None for a buffer of its own; empty if
        all have their own.
    biased: for each bias [out] the number of the matrix whose product it is added to.
    in_c: the same in C.
    at_once: the least number of rows of a value that are multiplied by its matrix at a time.
    """

    step: Callable[[Tensors, Tensors, Tensors, Tensors, Tensors, Tensors], Tensors]
    back: Callable[
        [Tensors, Tensors, Tensors, Tensors, Tensors, Tensors, Perhaps, Tensors],
        tuple[Perhaps, Perhaps, Tensors],
    ]
    sloped: tuple[bool, ...] = ()
    places: tuple[tuple[int, int, int] | None, ...] = ()
    biased: tuple[int, ...] = ()
    in_c: InC | StepsInC | None = None
    at_once: int = 1024

    def d_products(self, matrices: Tensors, d_values: Sequence[Tensor | None], rows: int) -> Tensors:
        """Return for each matrix where the gradient of its product is stored, [rows, out]."""
        found = []
        for matrix, place in zip(matrices, self.places or (None,) * len(matrices), strict=True):
            if place is None:
                found.append(matrix.new_empty(rows, len(matrix)))
            else:
                value, start, stop = place
                whole = d_values[value]
                assert whole is not None
                found.append(whole[:, start:stop])
        return tuple(found)
