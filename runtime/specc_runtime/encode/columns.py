"""List columns taken apart: from one cell a row to packed values and lengths.

Promises: no loop over rows. Slices, nulls and every kind of Arrow list are honoured: an absent list is an
empty one. Of a list that is longer than its bound the last positions are kept, which in a history are the
most recent.
Leaves to others: what the values mean (kinds), and whether the lists of several columns agree (encoders).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc_runtime.encode.faults import Unfit

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Packed:
    """The innermost values of a column, and how they are grouped.

    lengths: by level, outermost first, how many of the next level each place of this one has.
    given: those lengths before they were cut to the bounds. absent: the rows that have no list at all, None
    if there are none.
    """

    values: pa.Array
    lengths: tuple[Ints, ...]
    given: tuple[Ints, ...]
    absent: npt.NDArray[np.bool_] | None = None

    def row(self, index: int, level: int | None = None) -> int:
        """The row of the table, counted from 0, that a value (or a place of an outer level) is in."""
        return self.place(index, level)[0]

    def place(self, index: int, level: int | None = None) -> tuple[int, ...]:
        """The row of the table that a value (or a place of an outer level) is in, and where in the lists that
        the table has, outermost first; counted from 0."""
        found: list[int] = []
        for lengths, given in reversed([*zip(self.lengths[:level], self.given[:level], strict=True)]):
            ends = np.cumsum(lengths)
            outer = int(np.searchsorted(ends, index, side="right"))
            within = index - int(ends[outer] - lengths[outer])
            found.append(within + int(given[outer] - lengths[outer]))  # of a long list the end is kept
            index = outer
        return (index, *reversed(found))


def unpack(column: pa.Array | pa.ChunkedArray, bounds: Sequence[int | None]) -> Packed:
    """Take as many levels of lists apart as there are bounds; None is no bound. Raises Unfit for a
    column with fewer, or more, levels."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths: list[Ints] = []
    given: list[Ints] = []
    absent = None
    if bounds and values.null_count:
        absent = values.is_null().to_numpy(zero_copy_only=False)
    for bound in bounds:
        values, before, after = _level(_plain(values), bound, len(bounds), column.type)
        given.append(before)
        lengths.append(after)
    values = _plain(values)
    if is_list(values.type):
        raise _levels(column.type, len(bounds))
    return Packed(values, tuple(lengths), tuple(given), absent)


def picked(starts: Ints, lengths: Ints) -> Ints:
    """Return the positions of runs of consecutive values, one run after another."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def _level(
    values: pa.Array, bound: int | None, levels: int, whole: pa.DataType
) -> tuple[pa.Array, Ints, Ints]:
    """The values of all lists, and the lists' lengths before and after they are cut to the bound."""
    rows = len(values)
    if pa.types.is_null(values.type):
        none = np.zeros(rows, dtype=np.int64)
        return pa.nulls(0), none, none
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    if not is_list(values.type):
        raise _levels(whole, levels)
    if rows == 0:
        none = np.zeros(0, dtype=np.int64)
        return values.values.slice(0, 0), none, none
    offsets = values.offsets.to_numpy().astype(np.int64)
    starts, given = offsets[:-1], np.diff(offsets)
    if values.null_count:
        given = np.where(values.is_null().to_numpy(zero_copy_only=False), 0, given)
    kept = given if bound is None else np.minimum(given, bound)
    if int(kept.sum()) == offsets[-1] - offsets[0]:
        return values.values.slice(offsets[0], offsets[-1] - offsets[0]), given, kept
    return values.values.take(pa.array(picked(starts + given - kept, kept))), given, kept


def is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _plain(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _levels(found: pa.DataType, levels: int) -> Unfit:
    wanted = "one value a row" if not levels else "list" + "<list" * (levels - 1) + ">" * (levels - 1)
    return Unfit(
        f"the column is {found}, and it should hold {wanted}",
        help="one list for each axis of the space, and one more for a `bag` or `vector`, or for the "
        "candidates of a request"
        if levels
        else "a field of a space without axes is one value",
    )
