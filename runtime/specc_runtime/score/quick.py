"""The batch of one request of Python values, without a table in between.

A table of one row costs more to build and take apart than a small model takes to score it. Here values go
into arrays directly, and the row of a key that was seen before is known without a search.

Promises: a batch as `Encoders.encode` gives it, to the bit; or `Unusual`, for what only that knows about:
faults, absent columns, texts where numbers are meant, features that are rare. Threads may share one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from specc_runtime.batch import Bag, Batch
from specc_runtime.encode import Encoders
from specc_runtime.encode.agree import CANDIDATES
from specc_runtime.encode.faults import Unfit
from specc_runtime.encode.kinds import Scale, scaled, single, table_rows
from specc_runtime.encode.reading import encoding_of
from specc_runtime.encode.vocabulary import Vocabulary

REMEMBERED = 1 << 18  # keys of a field whose rows are known without a search
_LIMIT = 1 << 63
Ints = npt.NDArray[np.int64]


class Unusual(Exception):
    """A request that is encoded as a table is."""


@dataclass(frozen=True)
class _Field:
    """columns: where its values may be, the first first. levels: of lists, by axis; `bounds` of each.
    inner: how many values a bag (-1) or vector has at each place, 0 for one value."""

    path: str
    columns: tuple[str, ...]
    axes: tuple[str, ...]
    bounds: tuple[int | None, ...]
    inner: int
    values: Callable[[list[Any]], npt.NDArray[Any]]


class Quick:
    """Encodes requests for a model. candidates: whether it has any."""

    def __init__(self, encoders: Encoders, candidates: bool) -> None:
        manifest = encoders.manifest
        self._schema = encoders.schema
        self._candidates = candidates
        bounds = {axis["id"]: axis["bound"] for axis in manifest["axes"]}
        self._fields = []
        self._able = encoders.format > 1 and not manifest.get("crosses")
        for entry in manifest["fields"]:
            if entry.get("training"):
                continue
            values = _values_of(entry, encoders)
            self._able = self._able and values is not None
            own = (CANDIDATES,) if candidates and entry["role"] == "candidate" else ()
            axes = (*own, *entry["axes"])
            inner = {"bag": -1, "vector": entry["options"].get("n", 0)}.get(entry["encoding"], 0)
            columns = tuple(c for c in (entry["column"], entry["fallback"]) if c is not None)
            found = tuple(bounds.get(axis) for axis in axes)
            if values is not None:
                self._fields.append(_Field(entry["path"], columns, axes, found, inner, values))

    def batch(self, request: Mapping[str, Any]) -> Batch:
        """The batch of one request, lists of candidates' values by column. Raises Unusual."""
        if not self._able:
            raise Unusual
        fields: dict[str, Tensor | Bag] = {}
        given: dict[tuple[str, ...], list[int]] = {}
        lengths: dict[str, Tensor] = {}
        for field in self._fields:
            for column in field.columns:
                if column in request:
                    break
            else:
                raise Unusual
            values, kept = [request[column]], field.axes
            for level, bound in enumerate(field.bounds):
                values, own, cut = _opened(values, bound)
                known = given.setdefault(kept[: level + 1], own)
                if known is own:
                    lengths[kept[level]] = torch.tensor(cut, dtype=torch.int64, device="cpu")
                elif known != own:
                    raise Unusual
            fields[field.path] = _tensor(field, values)
        candidates = lengths.pop(CANDIDATES, None)
        return Batch(self._schema, 1, fields, lengths, {}, candidates)


def _opened(values: list[Any], bound: int | None) -> tuple[list[Any], list[int], list[int]]:
    """The values of lists, how many each has, and how many are kept of each: the last ones."""
    if len(values) == 1:
        (one,) = values
        if type(one) is not list:
            raise Unusual
        n = len(one)
        if bound is None or n <= bound:
            return one, [n], [n]
        return one[n - bound :], [n], [bound]
    found: list[Any] = []
    given, kept = [], []
    for one in values:
        if type(one) is not list:
            raise Unusual
        given.append(len(one))
        if bound is not None and len(one) > bound:
            one = one[len(one) - bound :]
        kept.append(len(one))
        found += one
    return found, given, kept


def _tensor(field: _Field, values: list[Any]) -> Tensor | Bag:
    if not field.inner:
        return torch.from_numpy(field.values(values))
    values, lengths, _ = _opened(values, None) if values else ([], [], [])
    if field.inner < 0:
        counts = torch.tensor(lengths, dtype=torch.int64, device="cpu")
        return Bag(torch.from_numpy(field.values(values)), counts)
    if any(n != field.inner for n in lengths):
        raise Unusual
    return torch.from_numpy(field.values(values).reshape(-1, field.inner))


# ------------------------------------------------------------------------ values


def _values_of(
    entry: Mapping[str, Any], encoders: Encoders
) -> Callable[[list[Any]], npt.NDArray[Any]] | None:
    """What makes an array of a field's values; None for what is left to tables."""
    encoding, options = encoding_of(entry)
    own = entry["options"]
    if own.get("time") or "weight" in own or encoding == "key":
        return None
    if encoding == "bucket" and not options.get("time"):
        return _Buckets(options)
    if entry["table"] is not None:
        if encoding not in ("ids", "vocab", "hash"):
            return None
        if entry["encoding"] == "bag" and "default" in own:
            options = {**options, "default": own["default"]}
        return _Rows(encoding, options, encoders.vocabularies.get(entry["vocabulary"]))
    if entry["encoding"] == "vector":
        return _Numbers(None, None)
    if entry["encoding"] == "number":
        return _Numbers(own["scale"], encoders.scales.get(entry["path"]))
    return None


class _Rows:
    """The rows of a table that stand for keys: texts, or integers."""

    def __init__(self, encoding: str, options: Mapping[str, Any], vocabulary: Vocabulary | None) -> None:
        self._about = encoding, options, vocabulary
        self._texts: dict[Any, int] = {}
        self._integers: dict[Any, int] = {}

    def __call__(self, values: list[Any]) -> Ints:
        kinds = set(map(type, values))
        kinds.discard(type(None))
        if len(kinds) > 1 or not kinds <= {int, str}:
            raise Unusual
        known = self._texts if str in kinds else self._integers
        try:
            return np.fromiter(map(known.__getitem__, values), np.int64, len(values))
        except KeyError:
            rows = self._learnt(known, values)
        return np.fromiter(map(rows.__getitem__, values), np.int64, len(values))

    def _learnt(self, known: dict[Any, int], values: list[Any]) -> dict[Any, int]:
        """The rows of values, some of which are not known yet. Other threads may add to what is known, and
        empty it, meanwhile."""
        found = {key: known.get(key) for key in dict.fromkeys(values)}
        new = [key for key, row in found.items() if row is None]
        if any(type(key) is int and not -_LIMIT <= key < _LIMIT for key in new):
            raise Unusual
        kind = pa.string() if known is self._texts else pa.int64()
        encoding, options, vocabulary = self._about
        try:
            rows = table_rows(encoding, options, pa.array(new, kind), vocabulary).tolist()
        except (Unfit, pa.ArrowException, UnicodeError):
            raise Unusual from None
        if len(known) + len(new) > REMEMBERED:
            known.clear()
        learnt = dict(zip(new, rows, strict=True))
        known.update(learnt)
        return {key: row for key, row in {**found, **learnt}.items() if row is not None}


class _Buckets:
    """The rows of a table that stand for numbers."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def __call__(self, values: list[Any]) -> Ints:
        if not set(map(type, values)) <= {int, float}:
            raise Unusual
        try:
            found = pa.array(np.array(values, dtype=np.float64))
            return table_rows("bucket", self._options, found, None)
        except (Unfit, OverflowError):
            raise Unusual from None


class _Numbers:
    """Numbers [rows, 1] in the scale of their field, or those of vectors as they are."""

    def __init__(self, scale: str | None, by: Scale | None) -> None:
        self._scale, self._by = scale, by

    def __call__(self, values: list[Any]) -> npt.NDArray[np.float32]:
        if not set(map(type, values)) <= {int, float}:
            raise Unusual
        try:
            found = np.array(values, dtype=np.float64)
            if not np.isfinite(found).all():
                raise Unusual
            if self._scale is None:
                return single(found)
            return single(scaled(self._scale, found, self._by)).reshape(-1, 1)
        except (Unfit, OverflowError):
            raise Unusual from None
