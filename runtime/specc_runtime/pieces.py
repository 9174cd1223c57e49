"""The candidates of a batch in pieces, so that what is computed of them does not grow with how many they are.

Promises: a piece has the batch's requests, and a run of its candidates, as views of the batch's tensors; the
candidates of all pieces are those of the batch, in order.
Leaves to others: when a batch is taken in pieces (model), how wide values are (the compiled model).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from specc_runtime.batch import Bag, Batch
from specc_runtime.layout import CANDIDATE, Axis, Rows

# How many numbers a row has, of the rows of a candidate that some axes have.
Widths = Sequence[tuple[Sequence[Axis], int]]


def pieces_of(batch: Batch, most: int, widths: Widths) -> Iterator[Batch]:
    """The batch in pieces, in none of which a value has more numbers than `most`, or that have one candidate;
    nothing where the whole batch is such a piece.

    batch: on the host, with candidates.
    """
    if _is_surely_small(batch, most, widths):
        return
    layout = batch.layout
    ends = [_before(layout[(CANDIDATE, *axes)]) * width for axes, width in widths]
    count = layout[CANDIDATE].count
    if count < 2 or all(int(x[-1]) <= most for x in ends):
        return
    begin = 0
    while begin < count:
        # The last candidate up to which no value has too many numbers.
        last = min(int(torch.searchsorted(x, x[begin] + most, right=True)) - 1 for x in ends)
        end = min(max(last, begin + 1), count)
        yield _piece(batch, begin, end)
        begin = end


def _is_surely_small(batch: Batch, most: int, widths: Widths) -> bool:
    """Whether the batch is one piece even if each candidate had the positions of all requests; that is
    known without working out its rows."""
    assert batch.candidates is not None
    candidates = int(batch.candidates.sum())
    sums: dict[str, int] = {}
    for axes, width in widths:
        numbers = candidates * width
        for axis in axes:
            if axis.id not in batch.lengths:
                return False
            if axis.id not in sums:
                sums[axis.id] = int(batch.lengths[axis.id].sum())
            numbers *= sums[axis.id]
        if numbers > most:
            return False
    return True


def _before(rows: Rows) -> Tensor:
    """How many rows there are before those of each candidate, and altogether; int64 [candidates + 1]."""
    if rows.axes == (CANDIDATE,):
        return torch.arange(rows.count + 1)
    assert rows.prefix is not None
    ends = torch.cat([rows.lengths.new_zeros(1), rows.lengths.cumsum(0)])
    return ends.index_select(0, _before(rows.prefix))


def _piece(batch: Batch, begin: int, end: int) -> Batch:
    """The batch with some of all its candidates, from `begin` to before `end`."""
    layout = batch.layout

    def cut(values: Tensor, axes: Sequence[Axis]) -> tuple[int, int]:
        rows = layout[axes]
        if CANDIDATE not in rows.axes:
            return 0, len(values)
        first, last = _before(rows)[[begin, end]].tolist()
        return first, last

    fields: dict[str, Tensor | Bag] = {}
    for path, values in batch.fields.items():
        axes = batch.schema.fields[path]
        if isinstance(values, Bag):
            fields[path] = _bags(values, *cut(values.lengths, axes))
        else:
            first, last = cut(values, axes)
            fields[path] = values[first:last]
    lengths = {}
    for id, values in batch.lengths.items():
        parent = batch.schema.axes[id].parent
        first, last = cut(values, () if parent is None else (parent,))
        lengths[id] = values[first:last]
    assert batch.candidates is not None
    ends = batch.candidates.cumsum(0)
    counts = ends.clamp(begin, end) - (ends - batch.candidates).clamp(begin, end)
    labels = {name: values[begin:end] for name, values in batch.labels.items()}
    return replace(batch, fields=fields, lengths=lengths, labels=labels, candidates=counts)


def _bags(bag: Bag, first: int, last: int) -> Bag:
    """The bags of a run of rows."""
    if (first, last) == (0, len(bag.lengths)):
        return bag
    begin, lengths = int(bag.lengths[:first].sum()), bag.lengths[first:last]
    end = begin + int(lengths.sum())
    return Bag(bag.values[begin:end], lengths, None if bag.weights is None else bag.weights[begin:end])
