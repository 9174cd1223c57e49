"""Places of values at other rows, of other sizes, in C."""

from __future__ import annotations

from collections.abc import Sequence

from specc.emit.scoring.function import Place, Writer
from specc.emit.scoring.rows import Grid
from specc.lower.program import Kernel


def result_of(w: Writer, kernel: Kernel, sizes: Sequence[int], of: Place | None = None) -> Place:
    """A place for a kernel's result; one row, if it is made of a value that is the same everywhere."""
    same = of is not None and of.grid is None
    return w.new(kernel.result, sizes, None if same else w.grid(kernel.result))


def each_row(w: Writer, place: Place) -> str:
    return f"for (int64_t i = 0; i < {w.count(place.grid)}; i++)"


def at_rows(w: Writer, place: Place, at: Grid, grid: Grid) -> Place:
    """A value of the rows `at` at other rows."""
    if place.grid is None or at == grid:
        return place
    index = w.layout.index(grid, at)
    if place.index:
        index = w.layout.named(f"picked_(m, {w.count(grid)}, {place.index}, {index})")
    return Place(place.pointer, place.sizes, w.here(grid), w.at_block(index))


def indexed(w: Writer, place: Place, grid: Grid) -> Place:
    """A value with rows, by an index if it is the same everywhere."""
    if place.grid is not None:
        return place
    return Place(place.pointer, place.sizes, grid, w.layout.named(f"alike_(m, {w.count(grid)}, 0)"))


def row_at(place: Place, row: str) -> str:
    """The address of a row of a number."""
    return (
        place.row(row)
        if place.index or place.grid is None
        else f"{place.pointer} + (int64_t)({row}) * {place.size}"
    )
