"""Examples out of a batch: the packed tensors read off one value after another.

Promises: one example for each request, or for each candidate of each request, in order. The order of a
batch's values is stated by `specc_runtime.batch`, and followed here without its index tensors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from specc.interpret.values import Example, Held, Positions, Weighted
from specc.ir.graph import FieldSpec, Graph
from specc.types.axis import Axis

if TYPE_CHECKING:
    from specc_runtime.batch import Batch

CANDIDATE = "candidate"


def examples_of(graph: Graph, batch: Batch) -> list[Example]:
    """Return every example of a batch. Raises AssertionError if it holds more or less than
    its lengths say."""
    return list(_Reader(graph, batch).examples())


class _Reader:
    """Reads a batch from beginning to end; `_next` is how much of each tensor has been read."""

    def __init__(self, graph: Graph, batch: Batch) -> None:
        self._batch = batch
        self._next: Counter[str] = Counter()
        self._spaces = {space.name: space for space in graph.spaces}
        self._axes = list(dict.fromkeys(a for space in graph.spaces for a in space.axes))
        self._fields = [f for space in graph.spaces for f in space.fields]

    def examples(self) -> Iterator[Example]:
        batch = self._batch
        each = [1] * batch.size if batch.candidates is None else batch.candidates.tolist()
        number = 0
        for request, candidates in enumerate(each):
            lengths = self._lengths((a for a in self._axes if not self._of_candidate(a)), {})
            fields = self._read((f for f in self._fields if not self._differs(f)), lengths)
            for _ in range(candidates):
                own = self._lengths((a for a in self._axes if self._of_candidate(a)), lengths)
                read = self._read((f for f in self._fields if self._differs(f)), own)
                labels = {name: values[number] for name, values in batch.labels.items()}
                yield Example({**fields, **read}, own, labels, request)
                number += 1
        self._finish()

    def _of_candidate(self, axis: Axis) -> bool:
        """Return whether an axis is one of a candidate's features: each candidate has
        a length of its own."""
        return self._spaces[axis.key[1]].role == CANDIDATE or (
            axis.parent is not None and self._of_candidate(axis.parent)
        )

    def _differs(self, field: FieldSpec) -> bool:
        return field.role == CANDIDATE or any(self._of_candidate(a) for a in field.axes)

    def _lengths(
        self, axes: Iterable[Axis], known: Mapping[Axis, Mapping[Positions, int]]
    ) -> dict[Axis, Mapping[Positions, int]]:
        """Return the lengths of some axes, parents first, and those that are known."""
        lengths = dict(known)
        for axis in axes:
            id = f"{axis.key[1]}.{axis.key[2]}"
            places = _places(axis.parent, lengths)
            lengths[axis] = {place: int(self._take(id, self._batch.lengths[id])) for place in places}
            assert all(n <= axis.bound for n in lengths[axis].values()), f"{id} is longer than its bound"
        return lengths

    def _read(
        self, fields: Iterable[FieldSpec], lengths: Mapping[Axis, Mapping[Positions, int]]
    ) -> dict[str, dict[Positions, Held]]:
        return {
            field.path: {
                place: self._value(field)
                for place in _places(field.axes[-1] if field.axes else None, lengths)
            }
            for field in fields
        }

    def _value(self, field: FieldSpec) -> Held:
        values: Any = self._batch.fields[field.path]
        if field.encoding == "bag":
            count = int(self._take(field.path, values.lengths))
            begin = self._next[f"{field.path}[]"]
            self._next[f"{field.path}[]"] += count
            ids = tuple(int(i) for i in values.values[begin : begin + count])
            if values.weights is None:
                return ids
            return Weighted(ids, tuple(float(w) for w in values.weights[begin : begin + count]))
        held = self._take(field.path, values)
        return held if field.table is None else int(held)

    def _take(self, name: str, values: Tensor) -> Tensor:
        self._next[name] += 1
        return values[self._next[name] - 1]

    def _finish(self) -> None:
        for field in self._fields:
            values: Any = self._batch.fields[field.path]
            if field.encoding == "bag":
                assert self._next[f"{field.path}[]"] == len(values.values), f"ids are left of {field.path}"
                values = values.lengths
            assert self._next[field.path] == len(values), f"values are left of {field.path}"


def _places(axis: Axis | None, lengths: Mapping[Axis, Mapping[Positions, int]]) -> list[Positions]:
    """Return every position of an axis within every one of its parents."""
    if axis is None:
        return [()]
    return [(*place, p) for place in _places(axis.parent, lengths) for p in range(lengths[axis][place])]
