"""Some examples of a batch, in any order: how a shuffled buffer becomes batches.

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
            starts = (lengths.cumsum(0) - lengths)[outer]
            kept[axis] = lengths[outer]
            chosen[axis] = runs(starts, kept[axis])
        return chosen[axis]

    fields: dict[str, Tensor | Bag] = {}
    for path, values in batch.fields.items():
        axes = batch.schema.fields[path]
        fields[path] = _at(values, rows(axes[-1] if axes else None))
    lengths = {}
    for id, given in batch.lengths.items():
        lengths[id] = given[rows(batch.schema.axes[id].parent)]
    return replace(
        batch,
        size=len(examples),
        fields=fields,
        lengths=lengths,
        labels={name: label[rows(CANDIDATE)] for name, label in batch.labels.items()},
        candidates=None if batch.candidates is None else batch.candidates[examples],
    )


def runs(starts: Tensor, lengths: Tensor) -> Tensor:
    """The positions of runs, one run after another."""
    before = lengths.cumsum(0) - lengths
    total = int(lengths.sum())
    offset = torch.repeat_interleave(starts - before, lengths, output_size=total)
    return offset + torch.arange(total)


def _at(values: Tensor | Bag, rows: Tensor) -> Tensor | Bag:
    if isinstance(values, Bag):
        starts = (values.lengths.cumsum(0) - values.lengths)[rows]
        lengths = values.lengths[rows]
        held = runs(starts, lengths)
        weights = None if values.weights is None else values.weights[held]
        return Bag(values.values[held], lengths, weights)
    return values[rows]
