"""The batch of one request of Python values, without a table in between.

A table of one row costs more to build and take apart than a small model takes to score it. Here values go
into arrays directly (`values`).

Promises: a batch as `Encoders.encode` gives it, to the bit; or `Unusual`, for what only that knows about:
faults, texts where numbers are meant, keys of several types in one column. Threads may share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from specc_runtime.batch import Bag, Batch
from specc_runtime.data.columns import columns_of
from specc_runtime.encode import Encoders
from specc_runtime.encode.agree import CANDIDATES
from specc_runtime.encode.columns import picked
from specc_runtime.encode.crosses import Member, crossed
from specc_runtime.encode.reading import default_of, encoding_of
from specc_runtime.encode.vocabulary import hashed
from specc_runtime.score.values import Array, Keys, Numbers, Unusual, Values, hashes_of, values_of

KEPT = 1024  # tensors of a field with one key a request
Ints = npt.NDArray[np.int64]
_NONE = type(None)


@dataclass(frozen=True)
class _Field:
    """columns: where its values may be, the first first. axes: of its lists, outermost first. bounds: of
    these, and None for the lists of a bag or vector. vector: how many numbers each has.
    weights: the column of a bag's weights. hashes: of its values, if a cross reads them.
    nullable: whether it may have no value."""

    path: str
    encoding: str
    columns: tuple[str, ...]
    axes: tuple[str, ...]
    bounds: tuple[int | None, ...]
    vector: int
    weights: str | None
    values: Values
    hashes: Values | None
    nullable: bool


@dataclass(frozen=True)
class _Cross:
    """of: the fields that it crosses, by path. rows: of its table."""

    path: str
    of: tuple[str, ...]
    axes: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class _Opened:
    """Lists taken apart. values: all that are in them. given, kept: by level, how many each list has that is
    not left out, and how many of them are kept, the last ones. places: of the kept values, where some are
    not."""

    values: list[Any]
    given: Sequence[list[int]]
    kept: Sequence[list[int]]
    places: Ints | None

    def array(self, make: Values) -> Array:
        """An entry for each value that is kept. Those that are not are read all the same, as a table's are:
        faults, and the unit of times, depend on them."""
        found = make(self.values)
        return found if self.places is None else found[self.places]


class _Lone:
    """Fields that have one key each, whose tensors [1] are kept by that key, at most `KEPT` a field. Threads
    may share one."""

    def __init__(self, fields: Iterable[_Field]) -> None:
        own = [x for x in fields if isinstance(x.values, Keys) and not x.bounds and x.encoding != "key"]
        self.fields = {each.path: each for each in own}
        self._columns = [each.columns[0] for each in own]
        # By type, as 1 and True are equal.
        self._known: list[dict[type, dict[Any, Tensor]]] = [{int: {}, str: {}, _NONE: {}} for _ in own]
        self._at = {each.path: known for each, known in zip(own, self._known, strict=True)}

    def read(self, request: Mapping[str, Any]) -> dict[str, Tensor | Bag]:
        """By path the fields whose key was seen before."""
        values = map(request.get, self._columns)
        try:
            found = [known[type(value)].get(value) for known, value in zip(self._known, values, strict=True)]
        except KeyError:  # what is no key at all
            return {}
        return {path: x for path, x in zip(self.fields, found, strict=True) if x is not None}

    def keep(self, path: str, request: Mapping[str, Any], found: Tensor) -> None:
        """Keep what a field's key of a request was found to stand for."""
        each = self.fields[path]
        value = request.get(each.columns[0])
        if value is None:
            return
        known = self._at[path][type(value)]
        if len(known) >= KEPT:
            known.clear()
        known[value] = found


@dataclass
class _Read:
    """What was read of a request. members: what crosses read of a field, by path."""

    fields: dict[str, Tensor | Bag] = field(default_factory=dict)
    given: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    kept: dict[str, list[int]] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)


class Quick:
    """Encodes requests for a model. candidates: whether it has any."""

    def __init__(self, encoders: Encoders, candidates: bool) -> None:
        manifest = encoders.manifest
        self._schema = encoders.schema
        bounds = {axis["id"]: axis["bound"] for axis in manifest["axes"]}
        crosses = manifest.get("crosses", ())
        members = {path for cross in crosses for path in cross["of"]}
        used = [entry for entry in manifest["fields"] if not entry.get("training")]
        self._able = encoders.format > 1 and _kinds_agree(manifest, used)
        self._fields = []
        for entry in used if self._able else ():
            axes = _axes(entry, candidates)
            inner = (None,) if entry["encoding"] in ("bag", "vector") else ()
            self._fields.append(
                _Field(
                    entry["path"],
                    entry["encoding"],
                    tuple(c for c in (entry["column"], entry["fallback"]) if c is not None),
                    axes,
                    (*(bounds.get(axis) for axis in axes), *inner),
                    entry["options"].get("n", 0) if entry["encoding"] == "vector" else 0,
                    entry["options"].get("weight"),
                    values_of(entry, encoders),
                    hashes_of(entry) if entry["path"] in members else None,
                    default_of(entry) is not None or encoding_of(entry)[0] == "vocab",
                )
            )
        self._members = members
        self._lone = _Lone(each for each in self._fields if each.path not in members)
        self._crosses = [
            _Cross(cross["path"], tuple(cross["of"]), _axes(cross, candidates), cross["n"])
            for cross in crosses
        ]

    def batch(self, request: Mapping[str, Any]) -> Batch:
        """The batch of one request, lists of candidates' values by column. Raises Unusual."""
        if not self._able:
            raise Unusual
        lone = self._lone.read(request)
        read, absent = _Read(lone), list[_Field]()
        for each in self._fields:
            if each.path in lone:
                continue
            column = next((name for name in each.columns if name in request), None)
            if column is None or (request[column] is None and each.bounds):
                absent.append(each)
            else:
                self._read(read, each, _opened(request[column], each.bounds), request)
        if len(absent) == len(self._fields):
            raise Unusual
        for each in absent:
            self._read(read, each, _nothing(each, read.given, read.kept), request)
        lengths = {
            axis: torch.tensor(kept, dtype=torch.int64, device="cpu") for axis, kept in read.kept.items()
        }
        if self._crosses:
            known = {axis: np.array(kept, dtype=np.int64) for axis, kept in read.kept.items()}
            for cross in self._crosses:
                rows = crossed([read.members[path] for path in cross.of], cross.axes, known, cross.rows)
                read.fields[cross.path] = torch.from_numpy(rows)
        candidates = lengths.pop(CANDIDATES, None)
        return Batch(self._schema, 1, read.fields, lengths, {}, candidates)

    def _read(self, read: _Read, each: _Field, opened: _Opened, request: Mapping[str, Any]) -> None:
        """Add a field to what was read."""
        for level, axis in enumerate(each.axes):
            own = opened.given[level]
            known = read.given.setdefault(each.axes[: level + 1], own)
            if known is own:
                read.kept[axis] = opened.kept[level]
            elif known != own:
                raise Unusual
        found = opened.array(each.values)
        if each.path in self._members:
            hashes = hashed(pa.array(found)) if each.hashes is None else opened.array(each.hashes)
            read.members[each.path] = Member(hashes, each.axes)
        made = read.fields[each.path] = self._tensor(each, found, opened, request)
        if each.path in self._lone.fields and isinstance(made, torch.Tensor):
            self._lone.keep(each.path, request, made)

    def _tensor(
        self, each: _Field, found: Array, opened: _Opened, request: Mapping[str, Any]
    ) -> Tensor | Bag:
        if each.encoding == "bag":
            weights = None
            if each.weights is not None:
                if each.weights not in request:
                    raise Unusual
                others = _opened(request[each.weights], each.bounds)
                if list(others.given) != list(opened.given):
                    raise Unusual
                weights = torch.from_numpy(others.array(_WEIGHTS))
            counts = torch.tensor(opened.kept[-1], dtype=torch.int64, device="cpu")
            return Bag(torch.from_numpy(found), counts, weights)
        if each.vector:
            if any(n != each.vector for n in opened.kept[-1]):
                raise Unusual
            found = found.reshape(-1, each.vector)
        return torch.from_numpy(found.reshape(-1, 1) if each.encoding == "key" else found)


_WEIGHTS = Numbers(lambda found: found.astype(np.float32), None)


def _axes(entry: Mapping[str, Any], candidates: bool) -> tuple[str, ...]:
    own = (CANDIDATES,) if candidates and entry["role"] == "candidate" else ()
    return (*own, *entry["axes"])


def _kinds_agree(manifest: Mapping[str, Any], fields: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each column is read in one kind only, whichever fields read it."""
    found: dict[str, Any] = {}
    for entry in fields:
        own = columns_of({**manifest, "fields": [entry]}, labels=False)
        for name, column in own.items():
            if found.setdefault(name, column.kind) != column.kind:
                return False
    return True


def _nothing(
    each: _Field, given: Mapping[tuple[str, ...], list[int]], kept: Mapping[str, list[int]]
) -> _Opened:
    """Nulls in as many places as other fields have along the axes; of a bag none. Raises Unusual where no
    other field has them, and where null is a fault."""
    outer = [each.axes[: level + 1] for level in range(len(each.axes))]
    if any(axes not in given for axes in outer) or each.weights:
        raise Unusual
    before, after = [given[axes] for axes in outer], [kept[axis] for axis in each.axes]
    places = sum(after[-1]) if after else 1
    if len(each.bounds) > len(outer):
        if each.vector and places:
            raise Unusual
        none = [0] * places
        return _Opened([], [*before, none], [*after, none], None)
    if places and not each.nullable:
        raise Unusual
    return _Opened([None] * places, before, after, None)


def _opened(column: Any, bounds: Sequence[int | None]) -> _Opened:
    """The values of nested lists, as many levels of them as bounds. Raises Unusual for others."""
    values, given, cut = [column], list[list[int]](), False
    for bound in bounds:
        if len(values) == 1:
            (values,) = values
            if type(values) is not list:
                raise Unusual
            own = [len(values)]
        else:
            if not set(map(type, values)) <= {list}:
                raise Unusual
            own = list(map(len, values))
            values = list(chain.from_iterable(values))
        given.append(own)
        cut = cut or (bound is not None and max(own, default=0) > bound)
    if not cut:
        return _Opened(values, given, given, None)
    places, before, kept = np.zeros(1, dtype=np.int64), list[list[int]](), list[list[int]]()
    for own, bound in zip(given, bounds, strict=True):
        lengths = np.array(own, dtype=np.int64)
        ends = np.cumsum(lengths)[places]
        lengths = lengths[places]
        stay = lengths if bound is None else np.minimum(lengths, bound)
        places = picked(ends - stay, stay)
        before.append(lengths.tolist())
        kept.append(stay.tolist())
    return _Opened(values, before, kept, places)
