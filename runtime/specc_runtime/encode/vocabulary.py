"""Values and the rows of tables that stand for them: learned vocabularies, and hashes.

Promises: row 0 is the unknown value; more frequent values have lower rows, equally frequent ones are in
their own order, so the same data gives the same vocabulary, whatever format it was read from. Values are keys
(`keys.canonical`). Hashes are the same on every machine:

    mix(x)     the finaliser of splitmix64: x ^= x >> 30; x *= 0xbf58476d1ce4e5b9; x ^= x >> 27;
               x *= 0x94d049bb133111eb; x ^= x >> 31 (64 bits, wrapping)
    an integer i    mix(i + 0x9e3779b97f4a7c15), signed or unsigned: its 64 bits
    another text    with bytes b_0 … b_(n-1) of its UTF-8: mix(n + sum over p of mix(256 p + b_p + 1))
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specc_runtime.encode.keys import canonical, integers, texts

Rows = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
FEW = 4096  # values that are searched for among integers, unless there is a table of all by then
_STEP = np.uint64(0x9E3779B97F4A7C15)


def mix(x: Hashes) -> Hashes:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hashed(keys: pa.Array) -> Hashes:
    """The hash of each of some keys, none of them null."""
    bits, whole = integers(keys)
    if pa.types.is_int64(keys.type):
        return mix(bits + _STEP)
    found = of_letters(keys)
    return np.where(whole, mix(bits + _STEP), found) if whole.any() else found


def of_letters(keys: pa.Array) -> Hashes:
    """The hash of each of some large_string values by their bytes, decimal or not."""
    if not len(keys):
        return np.zeros(0, dtype=np.uint64)
    _, offsets, data = keys.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[keys.offset : keys.offset + len(keys) + 1]
    lengths = np.diff(ends)
    total = int(ends[-1] - ends[0])
    letters = np.frombuffer(data or b"", dtype=np.uint8)[ends[0] : ends[-1]]
    starts = ends[:-1] - ends[0]
    position = np.arange(total, dtype=np.int64) - np.repeat(starts, lengths)
    parts = mix((position * 256 + letters + 1).astype(np.uint64))
    # Differences of running sums: unlike reduceat, they are right for empty texts too.
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(parts, dtype=np.uint64)])
    return mix(sums[starts + lengths] - sums[starts] + lengths.astype(np.uint64))


# Where every key has a row, the rarest of so many keys is left out: a few that are unknown in training, so
# that the unknown row learns what to make of keys that nobody has seen.
SET_ASIDE = 100


@dataclass(frozen=True)
class Learnt:
    """What a vocabulary was learned from, and which keys of it have no row.

    keys, values: how many different keys the training data have, and how many values in all. known: how many
    of the values are of keys that have a row. rare: keys below `min_count`. beyond: keys for which the table
    had no row left. aside: keys that were left out for the unknown row's sake.
    """

    keys: int
    values: int
    known: int
    rare: int = 0
    beyond: int = 0
    aside: int = 0

    @property
    def unknown(self) -> float:
        """The share of the values that count as unknown."""
        return 1 - self.known / self.values if self.values else 0.0


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """keys: the known values, int64 or large_string; row i + 1 of the table is keys[i].
    counts: how often each was seen in the training data. learnt: what there was beside them, where that is
    known."""

    keys: pa.Array
    counts: Rows
    learnt: Learnt | None = None

    def row_of(self, keys: Iterable[Any] | pa.Array) -> Rows:
        """The row of each of some keys (texts, integers, None); 0 for an unknown one. Raises Unfit."""
        return self.rows(canonical(keys if isinstance(keys, pa.Array) else _array(keys)))

    def key_of(self, rows: Iterable[int] | Rows) -> list[int | str | None]:
        """The key of each of some rows: None for row 0, and for rows that no key has.

        Raises IndexError for a row below 0.
        """
        wanted = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows), dtype=np.int64)
        if (wanted < 0).any():
            raise IndexError(f"there is no row {int(wanted.min())}")
        has_key = (wanted > 0) & (wanted <= len(self.keys))
        found: list[int | str | None] = self.keys.take(pa.array(wanted - 1, mask=~has_key)).to_pylist()
        return found

    def rows(self, values: pa.Array) -> Rows:
        """The row of each value, 0 for a null or unknown one."""
        if not len(self.keys) or values.null_count == len(values):
            return np.zeros(len(values), dtype=np.int64)
        if pa.types.is_int64(values.type):
            found = (values.fill_null(0) if values.null_count else values).to_numpy()
            many = len(found) > FEW or "_direct" in self.__dict__
            direct = self._direct if many else None
            rows = _places(found, *self._integers) if direct is None else direct.rows(found)
        else:
            distinct = values.dictionary_encode()
            rows = self._rows_of_texts(distinct.dictionary)
            if not len(rows):
                return np.zeros(len(values), dtype=np.int64)
            rows = rows[distinct.indices.fill_null(0).to_numpy()]
        if values.null_count:
            rows = np.where(values.is_valid().to_numpy(zero_copy_only=False), rows, 0)
        return rows

    def _rows_of_texts(self, values: pa.Array) -> Rows:
        known, order = self._letters
        rows = _places(of_letters(values), known, order)
        if rows.any():
            # Two texts may share a hash; a wrong one is unknown.
            same = pc.equal(texts(self.keys.take(pa.array(np.maximum(rows - 1, 0)))), values)
            rows = np.where(same.to_numpy(zero_copy_only=False), rows, 0)
        return rows

    @cached_property
    def _integers(self) -> tuple[npt.NDArray[np.int64], Rows]:
        """The keys that are int64, ascending, and the row of each."""
        bits, whole = integers(self.keys)
        if not pa.types.is_int64(self.keys.type):
            # Unsigned ones have the bits of negative ones.
            negative = np.asarray(pc.starts_with(self.keys, "-"))
            whole &= (bits < np.uint64(1 << 63)) | negative
        rows = np.flatnonzero(whole)
        known = bits.view(np.int64)[rows]
        order = np.argsort(known, kind="stable")
        return known[order], rows[order] + 1

    @cached_property
    def _direct(self) -> _Direct | None:
        return _Direct.of(*self._integers)

    @property
    def index(self) -> Rows:
        """Where keys are found, int64 [2, keys]: integers, or the bits of the hashes of texts, ascending; and
        the row of each."""
        known, rows = self._integers if pa.types.is_int64(self.keys.type) else self._letters
        return np.stack([known.view(np.int64), rows])

    def take_index(self, index: Rows) -> None:
        """Look keys up by an index that was made before, so that none need be made. Raises ValueError for
        that of other keys."""
        if index.shape != (2, len(self.keys)) or index.dtype != np.int64:
            raise ValueError(f"an index of {index.dtype} {list(index.shape)} is not of {len(self.keys)} keys")
        index = np.asarray(index)  # each part of a `memmap` would be one, which takes longer than a search
        if pa.types.is_int64(self.keys.type):
            self.__dict__["_integers"] = index[0], index[1]
        else:
            self.__dict__["_letters"] = index[0].view(np.uint64), index[1]

    @cached_property
    def _letters(self) -> tuple[Hashes, Rows]:
        """The hashes of all keys as texts, ascending, and the row of each."""
        codes = of_letters(texts(self.keys))
        order = np.argsort(codes, kind="stable")
        return codes[order], order + 1


@dataclass(frozen=True, eq=False)
class _Direct:
    """The rows of all integers from one below the smallest key to one above the largest, 0 for those between
    that are no keys: where keys are close together, looking there is much quicker than a search."""

    first: int
    table: Rows

    @staticmethod
    def of(known: npt.NDArray[np.int64], rows: Rows) -> _Direct | None:
        """None where it would be much larger than there are keys. known: ascending."""
        if not len(known):
            return None
        first, last = int(known[0]) - 1, int(known[-1]) + 1
        limits = np.iinfo(np.int64)
        if last - first > 8 * len(known) + 1024 or first < limits.min or last > limits.max:
            return None
        table = np.zeros(last - first + 1, dtype=np.int64)
        table[known - first] = rows
        return _Direct(first, table)

    def rows(self, values: npt.NDArray[np.int64]) -> Rows:
        place = np.clip(values, self.first, self.first + len(self.table) - 1)
        place -= self.first
        found: Rows = self.table.take(place)
        return found


def _places(values: npt.NDArray[Any], known: npt.NDArray[Any], rows: Rows) -> Rows:
    """The row of each value among known ones, which ascend; 0 where there is none."""
    if not len(known):
        return np.zeros(len(values), dtype=np.int64)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[place] == values, rows[place], 0).astype(np.int64)


class Tally:
    """Counts keys as they come by."""

    def __init__(self) -> None:
        self.parts: dict[pa.DataType, list[pa.Table]] = {pa.int64(): [], pa.large_string(): []}

    def add(self, keys: pa.Array) -> None:
        if keys.null_count == len(keys):
            return
        counted = keys.drop_null().value_counts()
        parts = self.parts[keys.type]
        parts.append(
            pa.table({"key": counted.field("values"), "count": counted.field("counts").cast(pa.int64())})
        )
        if len(parts) >= 64:
            parts[:] = [_merged(parts)]

    def counted(self) -> pa.Table:
        """Every key with its count, as one table with columns `key` and `count`."""
        whole = [_merged(parts) for parts in self.parts.values() if parts]
        if len(whole) > 1:
            # The same integer may have come in both forms.
            whole = [_merged([part.set_column(0, "key", _texts(part.column("key"))) for part in whole])]
        if not whole:
            return pa.table({"key": pa.array([], pa.int64()), "count": pa.array([], pa.int64())})
        keys = canonical(whole[0].column("key").combine_chunks())
        return pa.table({"key": keys, "count": whole[0].column("count")})

    def vocabulary(self, most: int, least: int = 1) -> Vocabulary:
        """The most frequent values, for a table of `most` rows of which one is the unknown value's.

        least: how often a key must have been seen. Where no key is left out for that, nor for want of rows,
        the rarest hundredth is, rounded down; equally rare ones go by their hashes.
        """
        whole = self.counted()
        counts = whole.column("count").combine_chunks().to_numpy()
        kept = whole.filter(pa.array(counts >= least))
        rare, beyond, aside = len(whole) - len(kept), max(len(kept) - (most - 1), 0), 0
        if not rare and not beyond:
            aside = len(whole) // SET_ASIDE
            if aside:
                order = np.lexsort((hashed(whole.column("key").combine_chunks()), counts))
                stays = np.ones(len(whole), dtype=bool)
                stays[order[:aside]] = False
                kept = whole.filter(pa.array(stays))
        kept = kept.sort_by([("count", "descending"), ("key", "ascending")]).slice(0, most - 1)
        # What was left out may have been what kept the integers from being int64.
        keys = canonical(kept.column("key").combine_chunks())
        known = kept.column("count").combine_chunks().to_numpy()
        learnt = Learnt(len(whole), int(counts.sum()), int(known.sum()), rare, beyond, aside)
        return Vocabulary(keys, known, learnt)


def _array(keys: Iterable[Any]) -> pa.Array:
    """Keys of any kinds; where they are of several, as texts."""
    given = list(keys)
    try:
        return pa.array(given)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if key is None else str(key) for key in given], pa.large_string())


def _merged(parts: list[pa.Table]) -> pa.Table:
    whole = pa.concat_tables(parts).group_by("key").aggregate([("count", "sum")])
    return whole.select(["key", "count_sum"]).rename_columns(["key", "count"])


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([texts(chunk) for chunk in column.chunks], pa.large_string())
