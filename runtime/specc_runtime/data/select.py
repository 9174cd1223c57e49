"""Some examples of a batch: how a buffer becomes batches, shuffled or not.

Promises: no loop over rows; the examples keep everything that is theirs.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from specc_runtime.batch import Bag, Batch
from specc_runtime.layout import CANDIDATE, Axis


def select(batch: Batch, examples: Tensor) -> Batch:
    """The batch of certain examples (or requests), int64 [n], in that order."""
    chosen: dict[Axis | None, Tensor] = {None: examples}
    kept: dict[Axis, Tensor] = {}

    def rows(axis: Axis | None) -> Tensor:
        """The rows of an axis (or, for None, the examples) that are chosen, in their new order."""
        if axis == CANDIDATE and batch.candidates is None:
            axis = None
        if axis not in chosen:
            assert axis is not None
            lengths = batch.candidates if axis == CANDIDATE else batch.lengths[axis.id]
            assert lengths is not None
            outer = rows(axis.parent)
            kept[axis] = lengths.index_select(0, outer)
            # What the batch's layout knows is worked out once for all that is taken of it.
            chosen[axis] = runs(batch.layout[axis].starts.index_select(0, outer), kept[axis])
        return chosen[axis]

    fields: dict[str, Tensor | Bag] = {}
    for path, values in batch.fields.items():
        axes = batch.schema.fields[path]
        fields[path] = _at(values, rows(axes[-1] if axes else None))
    lengths = {}
    for id, given in batch.lengths.items():
        axis = batch.schema.axes[id]
        lengths[id] = kept[axis] if axis in kept else given.index_select(0, rows(axis.parent))
    return replace(
        batch,
        size=len(examples),
        fields=fields,
        lengths=lengths,
        labels={name: label.index_select(0, rows(CANDIDATE)) for name, label in batch.labels.items()},
        candidates=None if batch.candidates is None else batch.candidates.index_select(0, examples),
    )


def part(batch: Batch, begin: int, end: int) -> Batch:
    """The batch of the examples (or requests) begin .. end: views, nothing is copied."""
    ranges: dict[Axis | None, tuple[int, int]] = {None: (begin, end)}

    def rows(axis: Axis | None) -> slice:
        """The rows of an axis (or, for None, the examples) of these."""
        if axis == CANDIDATE and batch.candidates is None:
            axis = None
        if axis not in ranges:
            assert axis is not None
            lengths = batch.candidates if axis == CANDIDATE else batch.lengths[axis.id]
            assert lengths is not None
            ranges[axis] = _run(lengths, rows(axis.parent))
        return slice(*ranges[axis])

    fields: dict[str, Tensor | Bag] = {}
    for path, values in batch.fields.items():
        axes = batch.schema.fields[path]
        some = rows(axes[-1] if axes else None)
        if isinstance(values, Bag):
            held = slice(*_run(values.lengths, some))
            weights = None if values.weights is None else values.weights[held]
            fields[path] = Bag(values.values[held], values.lengths[some], weights)
        else:
            fields[path] = values[some]
    return replace(
        batch,
        size=end - begin,
        fields=fields,
        lengths={id: given[rows(batch.schema.axes[id].parent)] for id, given in batch.lengths.items()},
        labels={name: label[rows(CANDIDATE)] for name, label in batch.labels.items()},
        candidates=None if batch.candidates is None else batch.candidates[begin:end],
    )


def _run(lengths: Tensor, of: slice) -> tuple[int, int]:
    """Where what some rows in a row have, so many each, begins and ends."""
    begin = int(lengths[: of.start].sum())
    return begin, begin + int(lengths[of].sum())


def runs(starts: Tensor, lengths: Tensor) -> Tensor:
    """Return the positions of runs of consecutive rows, one run after another."""
    before = lengths.cumsum(0) - lengths
    total = int(lengths.sum())
    offset = torch.repeat_interleave(starts - before, lengths, output_size=total)
    return offset.add_(torch.arange(total, device="cpu"))


def _at(values: Tensor | Bag, rows: Tensor) -> Tensor | Bag:
    if isinstance(values, Bag):
        starts = values.starts.index_select(0, rows)
        lengths = values.lengths.index_select(0, rows)
        held = runs(starts, lengths)
        weights = None if values.weights is None else values.weights.index_select(0, held)
        return Bag(values.values.index_select(0, held), lengths, weights)
    return values.index_select(0, rows)
