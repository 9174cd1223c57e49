"""What is seen of one column while the examples come by.

Promises: values are looked at as the field's encoding reads them; nothing that cannot be read is counted as a
value, as the encoders tell of it. Memory does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from specc.survey.sketch import Distinct, Floats, Hashes, Ints, Spread
from specc_runtime.encode import Vocabulary
from specc_runtime.encode.columns import unpack
from specc_runtime.encode.faults import Unfit
from specc_runtime.encode.kinds import filled, keys_of, numbers_of
from specc_runtime.encode.vocabulary import hashed, mix

_NULL = np.uint64(0x6A09E667F3BCC909)  # the hash of a null


@dataclass(eq=False)
class Axis:
    """The lists of one level of a column. counts: by length, how many lists have it; the last place stands
    for all that are longer. cut: lists longer than the bound. places, lost: values, and those cut off."""

    name: str
    bound: int | None
    counts: Ints = field(default_factory=lambda: np.zeros(129, np.int64))
    lists: int = 0
    cut: int = 0
    places: int = 0
    lost: int = 0
    longest: int = 0

    def add(self, given: Ints) -> None:
        self.lists += len(given)
        self.counts += np.bincount(np.minimum(given, 128), minlength=129)
        self.places += int(given.sum())
        self.longest = max(self.longest, int(given.max(initial=0)))
        if self.bound is not None:
            over = given[given > self.bound]
            self.cut += len(over)
            self.lost += int(over.sum()) - self.bound * len(over)


@dataclass(eq=False)
class Column:
    """A column that a field (or a prediction, or a group) is read from, in one part of the data.

    kind: "key", "time" (nanoseconds since 1970), or one of numbers. rows: of the part. values: innermost
    ones; nulls of them. unknown: values that the trained model does not know, None without one. whole: of
    each row, however many lists it holds; of requests, of each candidate. listed: the outermost lists are
    those of a request's candidates.
    """

    path: str
    name: str
    encoding: str
    options: Mapping[str, Any]
    axes: list[Axis]
    kind: str
    vocabulary: Vocabulary | None = None
    absent: bool = False
    rows: int = 0
    values: int = 0
    nulls: int = 0
    unknown: int | None = None
    distinct: Distinct = field(default_factory=Distinct)
    whole: Distinct = field(default_factory=Distinct)
    listed: bool = False
    spread: Spread = field(default_factory=Spread)

    @staticmethod
    def of(
        entry: Mapping[str, Any],
        kind: str,
        bounds: Mapping[str, int],
        vocabulary: Vocabulary | None,
        listed: bool = False,
    ) -> Column:
        """Return the column of a manifest's field. listed: of a row's candidates it has a list."""
        encoding, options = inner_of(entry)
        axes = [Axis("candidates", None)] if listed else []
        axes += [Axis(axis, bounds[axis]) for axis in entry["axes"]]
        if entry["encoding"] in ("bag", "vector"):
            axes.append(Axis(entry["encoding"], None))
        return Column(
            entry["path"], entry["column"], encoding, options, axes, kind, vocabulary,
            unknown=None if vocabulary is None else 0, listed=listed,
        )  # fmt: skip

    @property
    def keys(self) -> bool:
        return self.kind == "key"

    @property
    def inner(self) -> list[Axis]:
        """The lists within a row, or within a candidate of one."""
        return self.axes[self.listed :]

    def add(
        self, column: pa.ChunkedArray, labels: Floats | None, candidates: Ints | None = None
    ) -> Hashes | None:
        """See some rows; the hash of each, or None if they cannot be read. candidates: how many each row
        has, of rows that are requests."""
        self.rows += len(column)
        try:
            packed = unpack(column, [axis.bound for axis in self.axes])
            values = keys_of(packed.values) if self.keys else filled(packed.values, None)
            hashes = self._keys(values) if self.keys else self._numbers(values)
        except Unfit:
            return None
        for axis, given in zip(self.axes, packed.given, strict=True):
            axis.add(given)
        self.values += len(values)
        self.nulls += values.null_count
        each = _rows(hashes, packed.lengths[self.listed :])
        rows = _rows(each, packed.lengths[: self.listed])
        if candidates is not None and not self.listed:
            each = np.repeat(rows, candidates)
        self.whole.add(each, labels=labels if labels is not None and len(labels) == len(each) else None)
        return rows

    def _keys(self, keys: pa.Array) -> Hashes:
        found = keys.drop_null()
        hashes = np.full(len(keys), _NULL)
        present = keys.is_valid().to_numpy(zero_copy_only=False)
        hashes[present] = hashed(found)
        self.distinct.add(hashes[present], found)
        if self.vocabulary is not None and self.unknown is not None:
            self.unknown += int((self.vocabulary.rows(found) == 0).sum())
        return hashes

    def _numbers(self, values: pa.Array) -> Hashes:
        found = numbers_of(values.drop_null())
        hashes = np.full(len(values), _NULL)
        present = values.is_valid().to_numpy(zero_copy_only=False)
        # + 0.0 makes one of the two zeros.
        hashes[present] = mix((found + 0.0).view(np.uint64))
        self.distinct.add(hashes[present])
        self.spread.add(found)
        return hashes


def inner_of(entry: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the encoding of a field's innermost values, and its options with the field's own default."""
    encoding, options = entry["encoding"], dict(entry["options"])
    if encoding == "bag":
        inner = dict(options["of"])
        encoding = inner.pop("encoding")
        options = {**inner, **({"default": options["default"]} if "default" in options else {})}
    return encoding, options


def _rows(hashes: Hashes, levels: Sequence[Ints]) -> Hashes:
    """Return one hash a row, of lists that of their values and order. levels: the lists' lengths, outermost
    first."""
    for lengths in reversed(levels):
        ends = np.cumsum(lengths)
        starts = ends - lengths
        place = np.arange(len(hashes), dtype=np.int64) - np.repeat(starts, lengths)
        parts = mix(hashes + place.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(parts, dtype=np.uint64)])
        hashes = mix(sums[ends] - sums[starts] + lengths.astype(np.uint64))
    return hashes


def joined(parts: list[tuple[int, Hashes]], rows: int) -> Hashes:
    """Return one hash a row of several columns, each with its place among them."""
    found = np.zeros(rows, np.uint64)
    for place, part in parts:
        found += mix(part + mix(np.full(1, place, np.uint64)))
    return mix(found)
