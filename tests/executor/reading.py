"""What kernels that read by position compute, row by row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from specc.types.axis import Axis
from tests.executor.places import Rows

if TYPE_CHECKING:
    from tests.executor.program import Execution

Row = Callable[[int, int], Tensor | None]


def _read(x: Tensor, position: Tensor, exact: bool, row: Row) -> Tensor:
    """row: of a row of positions and one of them, what stands there, [..., w]; None outside of the axis."""
    shape = torch.broadcast_shapes(x.shape, position.shape[1:-1] + x.shape[-1:])
    found = x.new_zeros(len(position), *shape)
    places = position.detach().expand(-1, *shape[:-1], 1)
    for number in range(len(position)):
        for inner in itertools.product(*map(range, shape[:-1])):
            wanted = float(places[(number, *inner, 0)])
            there = row(number, int(wanted)) if wanted >= 0 and not (exact and wanted % 1) else None
            if there is not None:
                found[(number, *inner)] = there.expand(shape)[inner]
    return found


def _at(
    run: Execution, x: Tensor, position: Tensor, of: Rows | None = None, to: Rows | None = None,
    exact: bool = False,
) -> Tensor:  # fmt: skip
    def row(number: int, wanted: int) -> Tensor | None:
        own = 0 if len(x) == 1 else number
        if of is not None and to is not None:
            own = run.layout.row_of(of, to.places[number])
        return x[own, wanted] if wanted < x.shape[1] else None

    return _read(x[0, 0] if len(x) else x.new_zeros(x.shape[2:]), position, exact, row)


def _at_rows(
    run: Execution, x: Tensor, position: Tensor, of: Rows, to: Rows, axis: Axis, exact: bool = False
) -> Tensor:
    def row(number: int, wanted: int) -> Tensor | None:
        return _row(run, x, of, to, number, axis, wanted)

    return _read(x.new_zeros(x.shape[1:]), position, exact, row)


def _row(
    run: Execution, x: Tensor, of: Rows, to: Rows, number: int, axis: Axis, wanted: int
) -> Tensor | None:
    place = to.places[number]
    if not 0 <= wanted < run.layout.length(axis, place):
        return None
    return x[run.layout.row_of(of, place, {axis: wanted})]


def _windows_of_rows(run: Execution, x: Tensor, rows: Rows, axis: Axis, shifts: Sequence[int]) -> Tensor:
    found = x.new_zeros(len(rows), len(shifts), *x.shape[1:])
    for number, (_, place) in enumerate(rows.places):
        for tap, shift in enumerate(shifts):
            there = _row(run, x, rows, rows, number, axis, place[axis] + shift)
            if there is not None:
                found[number, tap] = there
    return found


def _windows(run: Execution, x: Tensor, dim: int, shifts: Sequence[int]) -> Tensor:
    along = x.movedim(dim, 0)
    found = along.new_zeros(len(along), len(shifts), *along.shape[1:])
    for place, (tap, shift) in itertools.product(range(len(along)), enumerate(shifts)):
        if 0 <= place + shift < len(along):
            found[place, tap] = along[place + shift]
    return found.movedim((0, 1), (dim, dim + 1))


def _convolve(
    run: Execution, x: Tensor, matrix: Tensor, bias: Tensor | None, rows: Rows, axis: Axis,
    shifts: Sequence[int],
) -> Tensor:  # fmt: skip
    seen = _windows_of_rows(run, x, rows, axis, shifts).movedim(1, -2).flatten(-2)
    return seen @ matrix.t() + (0 if bias is None else bias)


FORMS: Mapping[str, Callable[..., Any]] = {
    "at": _at,
    "at_rows": _at_rows,
    "windows": _windows,
    "windows_of_rows": _windows_of_rows,
    "convolve": _convolve,
}
