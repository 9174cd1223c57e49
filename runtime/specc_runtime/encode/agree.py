"""The lists of several columns that lie along one axis.

Promises: columns of an axis have equal lengths, or the first place where they differ is an Unfit. A list that
is absent in one column and not in another is as many nulls as the other has values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from specc_runtime.encode.columns import Ints, Packed, picked
from specc_runtime.encode.faults import Unfit

CANDIDATES = "@candidates"
TOGETHER = "columns of one axis have a value for each of its positions"


@dataclass(frozen=True, eq=False)
class Along:
    """A column and the axes of its lists, outermost first. name: what faults call it."""

    name: str
    axes: tuple[str, ...]
    packed: Packed


@dataclass
class Axes:
    """The axes of a table's columns."""

    columns: Sequence[Along]
    _known: dict[tuple[str, ...], Packed] = field(default_factory=dict)

    def lengths(self, axes: tuple[str, ...]) -> Ints:
        """The lengths of the last of some nested axes, cut to their bounds."""
        return self._common(axes).lengths[len(axes) - 1]

    def agreed(self, column: Along) -> Packed:
        """The column with nulls in place of its absent lists. Raises Unfit where its lengths are others."""
        if not column.axes:
            return column.packed
        packed = column.packed
        if self._common(column.axes[:1]) is packed:
            return packed
        if packed.absent is not None:
            packed = _filled(packed, self._common(column.axes), len(column.axes))
        for level, axis in enumerate(column.axes):
            wanted, given = self._common(column.axes[: level + 1]).given[level], packed.given[level]
            if wanted is given or np.array_equal(wanted, given):
                continue
            # An outer list that differs was reported before its inner ones can be compared.
            wrong = wanted != given
            place = int(wrong.argmax())
            what = "candidates" if axis == CANDIDATES else f"positions of {axis}"
            other = self._other(column, level, packed.row(place, level))
            raise Unfit(
                f"there are {given[place]} {what}, and column `{other}` has {wanted[place]}",
                place,
                int(wrong.sum()) - 1,
                TOGETHER,
                level,
            )
        return packed

    def _other(self, column: Along, level: int, row: int) -> str:
        """Which column says how long the lists of a row are."""
        having = self._having(column.axes[: level + 1])
        there = (c for c in having if c.packed.absent is None or not c.packed.absent[row])
        return next(there, having[0]).name

    def _having(self, axes: tuple[str, ...]) -> list[Along]:
        return [c for c in self.columns if c.axes[: len(axes)] == axes]

    def _common(self, axes: tuple[str, ...]) -> Packed:
        """Each row's lengths from the first column that has its lists."""
        if axes not in self._known:
            having = [c.packed for c in self._having(axes)]
            common = having[0]
            for other in having[1:]:
                if common.absent is not None:
                    common = _merged(common, other, len(axes))
            self._known[axes] = common
        return self._known[axes]


def _merged(first: Packed, other: Packed, levels: int) -> Packed:
    """The lengths of the first, and where its lists are absent those of the other."""
    assert first.absent is not None
    rows = len(first.absent)
    given, lengths = [], []
    mine, theirs = np.ones(rows, dtype=np.int64), np.ones(rows, dtype=np.int64)
    for level in range(levels):
        starts = np.where(first.absent, len(first.given[level]) + _starts(theirs), _starts(mine))
        at = picked(starts, np.where(first.absent, theirs, mine))
        given.append(np.concatenate([first.given[level], other.given[level]])[at])
        lengths.append(np.concatenate([first.lengths[level], other.lengths[level]])[at])
        mine, theirs = _sums(first.lengths[level], mine), _sums(other.lengths[level], theirs)
    absent = first.absent & (other.absent if other.absent is not None else False)
    return Packed(pa.nulls(0), tuple(lengths), tuple(given), absent if absent.any() else None)


def _filled(packed: Packed, common: Packed, levels: int) -> Packed:
    """A column whose absent lists have the common lengths, and nulls for values."""
    absent = packed.absent
    assert absent is not None
    merged = _merged(packed, replace(common, absent=None), levels)
    mine = theirs = np.ones(len(absent), dtype=np.int64)
    for level in range(levels):
        mine, theirs = _sums(packed.lengths[level], mine), _sums(common.lengths[level], theirs)
    new = np.repeat(absent, np.where(absent, theirs, mine))
    if not new.any():
        return replace(packed, lengths=(*merged.lengths, *packed.lengths[levels:]),
                       given=(*merged.given, *packed.given[levels:]))  # fmt: skip
    if len(packed.lengths) > levels:  # a bag's own lists: none in an absent one
        lengths, given = np.zeros(len(new), dtype=np.int64), np.zeros(len(new), dtype=np.int64)
        lengths[~new], given[~new] = packed.lengths[levels], packed.given[levels]
        return Packed(packed.values, (*merged.lengths, lengths), (*merged.given, given))
    values = packed.values.take(pa.array(np.cumsum(~new) - 1, mask=new))
    return Packed(values, merged.lengths, merged.given)


def _starts(counts: Ints) -> Ints:
    return np.cumsum(counts) - counts


def _sums(lengths: Ints, places: Ints) -> Ints:
    """For each row the sum of its lengths. places: how many of them each row has."""
    whole = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    ends = np.cumsum(places)
    sums: Ints = whole[ends] - whole[ends - places]
    return sums
