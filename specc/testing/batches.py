"""Batches that a compiled model's manifest admits: random ones from a seed, and a Hypothesis strategy.

Promises: every length is within its bound, every id within its table, labels are of their prediction's
kind; empty sequences, sequences at their bound and empty bags occur. The same seed gives the same batch.
Leaves real columns and vocabularies to the runtime's encoders: ids here are drawn as they are after encoding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from specc_runtime import CANDIDATE, Axis, Bag, Batch, Layout, Schema
from specc_runtime.encode.labels import of_requests
from specc_runtime.encode.times import PARTS

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

SHORT = 6  # lengths are mostly up to this; now and then at the bound
LARGEST_BAG = 4


class Source(Protocol):
    """Where the numbers of a batch come from: a generator, or Hypothesis."""

    def lengths(self, count: int, bound: int) -> Tensor:
        """Return lengths, int64 [count], each 0..bound."""

    def ids(self, count: int, rows: int) -> Tensor:
        """Return ids, int64 [count], each 0..rows-1."""

    def numbers(self, count: int, width: int) -> Tensor:
        """Return numbers, float32 [count, width]."""

    def absent(self, count: int) -> Tensor:
        """Return which of some labels are absent, bool [count]."""


def random_batch(
    manifest: Mapping[str, Any],
    size: int,
    seed: int,
    full: bool = False,
    empty: float = 0.2,
    longest: int | None = None,
    candidates: bool = False,
    unlabelled: float = 0.0,
    most: int = 3,
) -> Batch:
    """Return a batch of `size` examples with labels, as a manifest admits them.

    full: every sequence is at its bound (or at `longest`), every request has `most` candidates.
    empty: how often a sequence is empty; a tenth of the others are at their bound.
    longest: no sequence is longer, whatever its bound.
    candidates: a batch of requests with 0 to `most` candidates each, as for scoring.
    unlabelled: how often an example lacks a prediction's label.
    """
    generator = torch.Generator().manual_seed(seed)
    source = _Random(generator, full, empty, longest, unlabelled)
    return drawn_batch(manifest, size, source, candidates, most)


def training_batch(
    manifest: Mapping[str, Any], size: int, seed: int, empty: float = 0.2, longest: int | None = None
) -> Batch:
    """Return a batch as the model is trained on: of examples, or of requests with candidates."""
    requests = of_requests(manifest)
    return random_batch(manifest, size, seed, empty=empty, longest=longest, candidates=requests)


@dataclass(frozen=True)
class _Random:
    generator: torch.Generator
    full: bool
    empty: float
    longest: int | None
    unlabelled: float = 0.0

    def absent(self, count: int) -> Tensor:
        if not self.unlabelled:
            return torch.zeros(count, dtype=torch.bool)
        return torch.rand(count, generator=self.generator) < self.unlabelled

    def lengths(self, count: int, bound: int) -> Tensor:
        most = bound if self.longest is None else min(bound, self.longest)
        if self.full:
            return torch.full((count,), most, dtype=torch.int64)
        short = self.ids(count, min(most, SHORT)) + 1 if most else self.ids(count, 1)
        at_bound = torch.rand(count, generator=self.generator) < 0.1
        absent = torch.rand(count, generator=self.generator) < self.empty
        return torch.where(absent, 0, torch.where(at_bound, most, short))

    def ids(self, count: int, rows: int) -> Tensor:
        return torch.randint(0, rows, (count,), generator=self.generator)

    def numbers(self, count: int, width: int) -> Tensor:
        return torch.randn(count, width, generator=self.generator)


def drawn_batch(
    manifest: Mapping[str, Any], size: int, source: Source, requests: bool, candidates: int = 3
) -> Batch:
    """Return a batch of what a source draws, with labels: lengths from the outermost axis inwards, then a
    value for each row that there is.

    requests: of requests with candidates, each with at most so many.
    """
    schema = Schema.of(manifest)
    counts = source.lengths(size, candidates) if requests else None
    lengths: dict[str, Tensor] = {}
    for id, axis in schema.axes.items():
        rows = _count(size, lengths, counts, () if axis.parent is None else (axis.parent,))
        lengths[id] = source.lengths(rows, axis.bound)
    tables = {weight["path"]: weight["shape"][0] for weight in manifest["weights"]}
    # A field whose own table nothing reads may be looked up in others, which are cut as all tables are.
    most = max((w["shape"][0] for w in manifest["weights"] if w["kind"] == "table"), default=None)
    for entry in (*manifest["fields"], *manifest["crosses"]):
        if most is not None and entry["table"] is not None and entry["table"] not in tables:
            own = entry["n"] if "n" in entry else _rows(entry["encoding"], entry["options"])
            tables[entry["table"]] = min(most, own)
    fields: dict[str, Tensor | Bag] = {}
    for entry in manifest["fields"]:
        rows = _count(size, lengths, counts, schema.fields[entry["path"]])
        fields[entry["path"]] = _column(entry, rows, tables, source)
    for entry in manifest["crosses"]:
        rows = _count(size, lengths, counts, schema.fields[entry["path"]])
        fields[entry["path"]] = source.ids(rows, tables.get(entry["table"]) or entry["n"])
    examples = size if counts is None else int(counts.sum())
    labels = {p["name"]: _labels(p, examples, source) for p in manifest["predictions"]}
    return Batch(schema, size, fields, lengths, labels, counts)


def _count(
    size: int, lengths: Mapping[str, Tensor], candidates: Tensor | None, axes: tuple[Axis, ...]
) -> int:
    if candidates is None:
        axes = tuple(axis for axis in axes if axis != CANDIDATE)
    return Layout(size, lengths, candidates)[axes].count


def _column(entry: Mapping[str, Any], rows: int, tables: Mapping[str, int], source: Source) -> Tensor | Bag:
    encoding, options = entry["encoding"], entry["options"]
    if encoding == "number" and entry.get("near"):
        return _near(entry["near"], rows, source)
    if encoding in ("number", "vector"):
        return source.numbers(rows, entry["width"])
    if encoding == "key":
        return source.ids(rows, 4).reshape(-1, 1)
    ids = tables.get(entry["table"]) or _rows(encoding, options)
    if encoding == "bag":
        lengths = source.lengths(rows, LARGEST_BAG)
        count = int(lengths.sum())
        weights = source.numbers(count, 1).squeeze(1) if "weight" in options else None
        return Bag(source.ids(count, ids), lengths, weights)
    return source.ids(rows, ids)


def _near(values: list[float], rows: int, source: Source) -> Tensor:
    """Return numbers of which three in four are among some values (`specc.testing.near`)."""
    known = torch.tensor(values, dtype=torch.float32)
    at = source.ids(rows, len(values))
    others = source.numbers(rows, 1)
    return torch.where((source.ids(rows, 4) > 0).reshape(-1, 1), known[at].reshape(-1, 1), others)


def _rows(encoding: str, options: Mapping[str, Any]) -> int:
    """Return how many ids an encoding has, for a field whose table nothing reads."""
    match encoding:
        case "bag":
            return _rows(options["of"]["encoding"], options["of"])
        case "vocab":
            return int(options["max"])
        case "bucket" if "log2" in options:
            return int(options["log2"])
        case "bucket":
            return len(options["edges"]) + 1
        case "time":
            return PARTS[options["part"]]
        case _:
            return int(options["n"])


def _labels(prediction: Mapping[str, Any], count: int, source: Source) -> Tensor:
    match prediction["kind"]:
        case "class":
            first = (prediction.get("rows") or {"first": 0})["first"]
            found: Tensor = source.ids(count, prediction["classes"] - first) + first
            return found.masked_fill(source.absent(count), -1)
        case "binary" | "choice":
            found = source.ids(count, 2).to(torch.float32)
        case _:
            found = source.numbers(count, 1).squeeze(1)
    return found.masked_fill(source.absent(count), math.nan)


# ---------------------------------------------------------------- Hypothesis

# Beyond so many values a column is drawn as one seed: a long example need not shrink value by value.
_DRAWN = 24
_LABELLED = 4  # examples with a label to one without


@dataclass(frozen=True)
class _Drawn:
    draw: DrawFn
    longest: int | None
    unlabelled: bool = False

    def absent(self, count: int) -> Tensor:
        if not self.unlabelled:
            return torch.zeros(count, dtype=torch.bool)
        return self.ids(count, _LABELLED + 1) == _LABELLED

    def lengths(self, count: int, bound: int) -> Tensor:
        from hypothesis import strategies as st

        most = bound if self.longest is None else min(bound, self.longest)
        # One choice for each length, so that shrinking can leave out what belongs to it.
        known = [*range(min(most, SHORT) + 1), *([most] if most > SHORT else [])]
        one = st.integers(0, len(known) - 1)
        drawn = self.draw(st.lists(one, min_size=count, max_size=count))
        return torch.tensor([known[i] for i in drawn], dtype=torch.int64)

    def ids(self, count: int, rows: int) -> Tensor:
        from hypothesis import strategies as st

        if count > _DRAWN:
            return self._random().ids(count, rows)
        one = st.integers(0, rows - 1)
        return torch.tensor(self.draw(st.lists(one, min_size=count, max_size=count)), dtype=torch.int64)

    def numbers(self, count: int, width: int) -> Tensor:
        from hypothesis import strategies as st

        total = count * width
        if total > _DRAWN:
            return self._random().numbers(count, width)
        # Quarters are exact in every type, and shrink to 0.
        drawn = self.draw(st.lists(st.integers(-8, 8), min_size=total, max_size=total))
        return torch.tensor(drawn, dtype=torch.float32).reshape(count, width) / 4

    def _random(self) -> _Random:
        from hypothesis import strategies as st

        seed = self.draw(st.integers(0, 2**16))
        return _Random(torch.Generator().manual_seed(seed), full=False, empty=0.2, longest=self.longest)


def batches(
    spec: Any,
    *,
    max_size: int = 4,
    longest: int | None = None,
    candidates: bool = False,
    unlabelled: bool = False,
    **params: Any,
) -> SearchStrategy[Batch]:
    """Return a Hypothesis strategy of batches that a spec admits, with labels; they shrink to few, short
    examples.

    spec: a path to a spec, a compiled model, or a manifest. params override the spec's.
    max_size: the most examples in a batch. longest: as for `random_batch`.
    candidates: batches of requests with candidates, as for scoring.
    unlabelled: whether some examples lack a label.
    Raises SpecError where the spec has faults.
    """
    from hypothesis import strategies as st

    manifest = manifest_of(spec, params)

    @st.composite
    def strategy(draw: DrawFn) -> Batch:
        size = draw(st.integers(1, max_size))
        return drawn_batch(manifest, size, _Drawn(draw, longest, unlabelled), candidates)

    return strategy()


def manifest_of(spec: Any, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the manifest of a spec's path, a compiled model, or what is a manifest already."""
    if isinstance(spec, Mapping):
        return spec
    manifest = getattr(spec, "manifest", None)
    if isinstance(manifest, Mapping):
        return manifest
    from specc.emit.manifest import manifest_of as manifest_of_graph
    from specc.testing.specs import graph_of

    return manifest_of_graph(graph_of(spec, params))
