"""Values and the rows of tables that stand for them: learned vocabularies, and hashes.

Promises: row 0 is the unknown value; more frequent values have lower rows, equally frequent ones are in
their own order, so the same data gives the same vocabulary. Hashes are the same on every machine and in
every version:

    mix(x)     the finaliser of splitmix64: x ^= x >> 30; x *= 0xbf58476d1ce4e5b9; x ^= x >> 27;
               x *= 0x94d049bb133111eb; x ^= x >> 31 (64 bits, wrapping)
    an integer i    mix(i + 0x9e3779b97f4a7c15)
    a text          with bytes b_0 … b_(n-1) of its UTF-8: mix(n + sum over p of mix(256 p + b_p + 1))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specc_runtime.encode.faults import Unfit

Rows = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
_STEP = np.uint64(0x9E3779B97F4A7C15)


def mix(x: Hashes) -> Hashes:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hashed(keys: pa.Array) -> Hashes:
    """The hash of each of some int64 or large_string values, none of them null."""
    if pa.types.is_int64(keys.type):
        return mix(keys.to_numpy().astype(np.uint64) + _STEP)
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


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """keys: the known values, int64 or large_string; row i + 1 of the table is keys[i].
    counts: how often each was seen in the training data."""

    keys: pa.Array
    counts: Rows

    def rows(self, values: pa.Array) -> Rows:
        """The row of each value, 0 for a null or unknown one. Raises Unfit for texts among integers
        or integers among texts."""
        if not len(self.keys) or pa.types.is_null(values.type):
            return np.zeros(len(values), dtype=np.int64)
        if values.type != self.keys.type:
            kinds = {True: "integers", False: "texts"}
            held, known = (kinds[pa.types.is_int64(t)] for t in (values.type, self.keys.type))
            raise Unfit(
                f"the column holds {held}, and the vocabulary was learned from {known}",
                help="give the column the type that it has in the training data",
            )
        absent = values.is_null().to_numpy(zero_copy_only=False)
        found = values if not values.null_count else values.fill_null("" if _text(values) else 0)
        codes = self._codes_of(found)
        order, codes_known = self._sorted
        place = np.minimum(np.searchsorted(codes_known, codes), len(codes_known) - 1)
        known = (codes_known[place] == codes) & ~absent
        rows = np.where(known, order[place] + 1, 0)
        if _text(values) and known.any():
            # Two texts may share a hash; a wrong one is unknown.
            same = pc.equal(self.keys.take(pa.array(np.maximum(rows - 1, 0))), found)
            rows = np.where(same.to_numpy(zero_copy_only=False), rows, 0)
        return rows.astype(np.int64)

    @staticmethod
    def _codes_of(values: pa.Array) -> npt.NDArray[np.int64] | Hashes:
        return hashed(values) if _text(values) else values.to_numpy()

    @cached_property
    def _sorted(self) -> tuple[Rows, npt.NDArray[np.int64] | Hashes]:
        codes = self._codes_of(self.keys)
        order = np.argsort(codes, kind="stable")
        return order, codes[order]


def _text(values: pa.Array) -> bool:
    return not pa.types.is_int64(values.type)


@dataclass
class Tally:
    """Counts values as they come by."""

    parts: list[pa.Table] = field(default_factory=list)

    def add(self, values: pa.Array) -> None:
        """Raises Unfit if texts come after integers, or integers after texts."""
        if pa.types.is_null(values.type) or values.null_count == len(values):
            return
        if self.parts and self.parts[0].schema.field("key").type != values.type:
            raise Unfit(
                "some columns of one vocabulary hold integers and some texts",
                help="fields that share a table need columns of one type",
            )
        counted = values.drop_null().value_counts()
        self.parts.append(
            pa.table({"key": counted.field("values"), "count": counted.field("counts").cast(pa.int64())})
        )
        if len(self.parts) >= 64:
            self.parts = [self._merged()]

    def _merged(self) -> pa.Table:
        whole = pa.concat_tables(self.parts).group_by("key").aggregate([("count", "sum")])
        return whole.select(["key", "count_sum"]).rename_columns(["key", "count"])

    def vocabulary(self, most: int) -> Vocabulary:
        """The most frequent values, for a table of `most` rows of which one is the unknown value's."""
        if not self.parts:
            return Vocabulary(pa.array([], pa.int64()), np.zeros(0, dtype=np.int64))
        whole = self._merged().sort_by([("count", "descending"), ("key", "ascending")]).slice(0, most - 1)
        keys = whole.column("key").combine_chunks()
        return Vocabulary(keys, whole.column("count").combine_chunks().to_numpy())
