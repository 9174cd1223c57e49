"""The candidates of a batch in pieces, so that what is computed of them does not grow with how many they are.

Promises: a piece has the batch's requests, and a run of its candidates, as views of the batch's tensors; the
candidates of all pieces are those of the batch, in order.
Leaves to others: when a batch is taken in pieces (model), how wide values are (the compiled model).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from specc_runtime import frozen
from specc_runtime.batch import Bag, Batch
from specc_runtime.layout import CANDIDATE, Axis, Rows

# C has no value for what is only repeated: so many times as many numbers take as much memory.
IN_C = 2
# How many numbers a row has, of the rows of a candidate that some axes have.
Widths = Sequence[tuple[Sequence[Axis], int]]


def pieces_of(batch: Batch, most: int, widths: Widths) -> Iterator[Batch]:
    """The batch in pieces, in none of which a value has more numbers than `most`, or that have one candidate;
    nothing where the whole batch is such a piece.

    batch: on the host, with candidates.
    """
    if is_surely_small(batch, most, widths):
        return
    layout = batch.layout
    ends = [_before(layout[(CANDIDATE, *axes)]) * width for axes, width in widths]
    count = layout[CANDIDATE].count
    if count < 2 or all(int(x[-1]) <= most for x in ends):
        return
    cut, begin = _Cut.of(batch), 0
    while begin < count:
        # The last candidate up to which no value has too many numbers.
        last = min(int(torch.searchsorted(x, x[begin] + most, right=True)) - 1 for x in ends)
        end = min(max(last, begin + 1), count)
        yield cut.piece(begin, end)
        begin = end


def is_surely_small(batch: Batch, most: int, widths: Widths) -> bool:
    """Whether the batch is one piece even if each candidate had the positions of all requests; that is
    known without working out its rows."""
    assert batch.candidates is not None
    candidates = int(batch.candidates.sum())
    sums: dict[str, int] = {}
    for axes, width in widths:
        numbers: int | None = candidates * width
        for axis in axes:
            positions = _positions(batch, axis, sums)
            if positions is None or numbers is None:
                return False
            numbers *= positions
        if numbers is None or numbers > most:
            return False
    return True


def _positions(batch: Batch, axis: Axis, sums: dict[str, int]) -> int | None:
    """How many positions of an axis all requests have together, at most; None if that is not known at once.
    sums: those that were asked for before."""
    if axis.id not in sums:
        if axis.id in batch.lengths:
            sums[axis.id] = int(batch.lengths[axis.id].sum())
        elif axis.change in ("same", "shorter", "joined"):
            found = [_positions(batch, source, sums) for source in axis.source]
            if None in found:
                return None
            sums[axis.id] = sum(x for x in found if x is not None)
        else:
            return None
    return sums[axis.id]


def _before(rows: Rows) -> Tensor:
    """How many rows there are before those of each candidate, and altogether; int64 [candidates + 1]."""
    if rows.axes == (CANDIDATE,):
        return torch.arange(rows.count + 1)
    assert rows.prefix is not None
    ends = torch.cat([rows.lengths.new_zeros(1), rows.lengths.cumsum(0)])
    return ends.index_select(0, _before(rows.prefix))


@frozen.dataclass(frozen=True)
class _Cut:
    """A batch that is cut. fields, lengths: of those that candidates have, where the rows of each begin.
    ends: the candidates up to the last one of each request."""

    batch: Batch
    fields: Mapping[str, Tensor]
    lengths: Mapping[str, Tensor]
    ends: Tensor

    @staticmethod
    def of(batch: Batch) -> _Cut:
        known: dict[tuple[Axis, ...], Tensor | None] = {}

        def before(*axes: Axis) -> Tensor | None:
            if axes not in known:
                rows = batch.layout[axes]
                known[axes] = _before(rows) if CANDIDATE in rows.axes else None
            return known[axes]

        parents = {id: batch.schema.axes[id].parent for id in batch.lengths}
        fields = {path: before(*batch.schema.fields[path]) for path in batch.fields}
        lengths = {id: None if parent is None else before(parent) for id, parent in parents.items()}
        assert batch.candidates is not None
        return _Cut(batch, _there(fields), _there(lengths), batch.candidates.cumsum(0))

    def piece(self, begin: int, end: int) -> Batch:
        """The batch with some of all its candidates, from `begin` to before `end`."""
        batch = self.batch
        assert batch.candidates is not None
        fields, lengths = dict(batch.fields), dict(batch.lengths)
        for path, starts in self.fields.items():
            first, last = int(starts[begin]), int(starts[end])
            values = fields[path]
            fields[path] = _bags(values, first, last) if isinstance(values, Bag) else values[first:last]
        for id, starts in self.lengths.items():
            lengths[id] = lengths[id][int(starts[begin]) : int(starts[end])]
        counts = self.ends.clamp(begin, end) - (self.ends - batch.candidates).clamp(begin, end)
        labels = {name: values[begin:end] for name, values in batch.labels.items()}
        return replace(batch, fields=fields, lengths=lengths, labels=labels, candidates=counts)


def _there(found: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    return {name: x for name, x in found.items() if x is not None}


def _bags(bag: Bag, first: int, last: int) -> Bag:
    """The bags of a run of rows."""
    begin, lengths = int(bag.lengths[:first].sum()), bag.lengths[first:last]
    end = begin + int(lengths.sum())
    return Bag(bag.values[begin:end], lengths, None if bag.weights is None else bag.weights[begin:end])
