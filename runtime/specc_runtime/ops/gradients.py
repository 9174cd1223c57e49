"""Gradients of looked-up values, summed by table row.

Promises: of each table the distinct rows that ids name, and for each the sum of its upstream gradients. Time
and memory depend on how many ids there are, not on how large tables are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime.native import sums as in_c
from specc_runtime.native.sums import Read
from specc_runtime.ops.use import Use, begins

# A table of at most this many rows for each id: distinct rows are found by marking rows, without sorting.
MARKS = 16


class Sums(NamedTuple):
    """Gradients of tables of one width, by row: rows int64 [m] and their sums [m, w], one table after
    another, each table's rows ascending. counts: how many each table has."""

    rows: Tensor
    values: Tensor
    counts: list[int]

    def of_each(self) -> list[tuple[Tensor, Tensor]]:
        """Return rows and sums by table."""
        if len(self.counts) == 1:
            return [(self.rows, self.values)]
        return list(zip(self.rows.split(self.counts), self.values.split(self.counts), strict=True))


def by_table(
    given: Sequence[tuple[Sequence[Use], Tensor]], own: Sequence[int], sizes: Sequence[int], width: int
) -> Sums:
    """Return the gradients of some tables of one width on the CPU. given: what each of several values was
    read from, and its upstream gradient [rows, w]. own: the tables' numbers; sizes: how many rows each has.
    """
    given = [(uses, grad.contiguous()) for uses, grad in given]
    first = {number: place for place, number in enumerate(own)}
    reads = [
        Read(first[use.table], use.ids, grad, use.column, use.lengths, use.mean, use.weights)
        for uses, grad in given
        for use in uses
        if use.table in first
    ]
    reads.sort(key=lambda read: read.table)
    found = in_c.summed(reads, sizes, width, given[0][1].dtype)
    if found is not None:
        return Sums(*found)
    # Tables are summed as one: a table's rows follow those of the tables before it.
    bounds = begins(sizes)
    first = dict(zip(own, bounds, strict=False))
    sources = [
        source
        for uses, grad in given
        for source in _sources([use for use in uses if use.table in first], grad, first, width)
    ]
    return _parted(*_summed(sources, bounds[-1]), bounds)


def _parted(rows: Tensor, sums: Tensor, bounds: Sequence[int]) -> Sums:
    """Return sums by table. rows: ascending. bounds: of the rows of all, each table's first, and where the
    last one's end."""
    if len(bounds) == 2:
        return Sums(rows, sums, [len(rows)])
    starts = torch.tensor(bounds)
    counts = torch.searchsorted(rows, starts).diff()
    own = rows - torch.repeat_interleave(starts[:-1], counts, output_size=len(rows))
    return Sums(own, sums, counts.tolist())


def by_row(rows: Tensor, sums: Tensor, shape: torch.Size) -> Tensor:
    """Return distinct, ascending rows and their sums as the gradient of a table."""
    return torch.sparse_coo_tensor(rows.unsqueeze(0), sums, shape, is_coalesced=True, check_invariants=False)


def summed_in_as_many(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums as `summed` does, without reading the number of distinct rows back from a device:
    (rows int64 [m], sums [m, w], count [1]). The first `count` entries are the distinct rows; the other sums
    are 0."""
    if not len(rows):
        return rows, values, rows.new_zeros(1)
    ordered, order = rows.sort()
    place = torch.zeros_like(ordered)
    torch.cumsum(ordered[1:] != ordered[:-1], 0, out=place[1:])
    found = ordered.index_copy(0, place, ordered)
    sums = torch.zeros_like(values).index_add_(0, place, values.index_select(0, order))
    return found, sums, place[-1:] + 1


def summed(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows of int64 [m], ascending, and for each the sum of its values [m, w]."""
    return _summed_alone(_Source(rows, values))


@dataclass(frozen=True)
class _Source:
    """Values to be summed by row, with an entry for each of int64 [m] rows. Entry i is row at[i] of `values`
    [n, w] (row i if `at` is None), times share[i]."""

    rows: Tensor
    values: Tensor
    at: Tensor | None = None
    share: Tensor | None = None


def _sources(uses: Sequence[Use], grad: Tensor, first: dict[int, int], width: int) -> list[_Source]:
    """Return the entries of one value's parts that have this width. first: for each table, the number of its
    first row."""
    if not uses:
        return []
    whole = grad.shape[1]
    if whole % width or any(use.column % width for use in uses):
        columns = [grad[:, use.column : use.column + width].contiguous() for use in uses]
        return [_source([use], part, [0], 1, first) for use, part in zip(uses, columns, strict=True)]
    # The part's columns are seen as every k-th row of a narrower matrix, so that nothing is copied.
    return [_source(uses, grad.view(-1, width), [use.column // width for use in uses], whole // width, first)]


def _source(
    uses: Sequence[Use], values: Tensor, places: Sequence[int], parts: int, first: dict[int, int]
) -> _Source:
    offsets = [first[use.table] for use in uses]
    if all(use.lengths is None for use in uses):
        if len(uses) == 1:
            rows = uses[0].ids + offsets[0] if offsets[0] else uses[0].ids
        else:
            rows = torch.stack([use.ids for use in uses], 1).add_(torch.tensor(offsets)).flatten()
        if len(uses) == parts:
            return _Source(rows, values)
        begins = torch.arange(0, len(values), parts, device=rows.device)
        at = torch.stack([begins + place for place in places], 1)
        return _Source(rows, values, at.flatten())
    ids = [use.ids + offset if offset else use.ids for use, offset in zip(uses, offsets, strict=True)]
    ats, shares = [], []
    for use, place in zip(uses, places, strict=True):
        owner = torch.arange(len(values) // parts, device=use.ids.device)
        share = values.new_ones(len(use.ids))
        if use.lengths is not None:
            owner = torch.repeat_interleave(use.lengths, output_size=len(use.ids))
            share = use.lengths.to(values.dtype).reciprocal()[owner] if use.mean else share
        share = share if use.weights is None else use.weights.to(values.dtype)
        ats.append(owner * parts + place)
        shares.append(share)
    shared = any(use.mean or use.weights is not None for use in uses)
    return _Source(torch.cat(ids), values, torch.cat(ats), torch.cat(shares) if shared else None)


def _summed(sources: Sequence[_Source], count: int) -> tuple[Tensor, Tensor]:
    """Return the distinct rows below `count` that have entries, ascending, and for each the sum of its
    entries."""
    # Summing in the order of rows is fastest but needs sorted entries: this is done for the largest source;
    # the others are added to its result.
    largest, *others = sorted(sources, key=lambda source: -len(source.rows))
    if not others:
        return _summed_alone(largest)
    ordered, order = largest.rows.sort()
    rows, places = distinct(torch.cat([source.rows for source in (largest, *others)]), count)
    found = _in_order(largest, order, torch.searchsorted(ordered, rows))
    _, *rest = places.split([len(source.rows) for source in (largest, *others)])
    for source, place in zip(others, rest, strict=True):
        part = source.values if source.at is None else source.values.index_select(0, source.at)
        found.index_add_(0, place, part if source.share is None else part * source.share.unsqueeze(1))
    return rows, found


def _summed_alone(source: _Source) -> tuple[Tensor, Tensor]:
    ordered, order = source.rows.sort()
    rows, counts = torch.unique_consecutive(ordered, return_counts=True)
    return rows, _in_order(source, order, counts.cumsum(0) - counts)


def _in_order(source: _Source, order: Tensor, begins: Tensor) -> Tensor:
    """Return the sums of a source's entries, taken in an order, from each of `begins` to the next."""
    if not len(order):
        return source.values.new_zeros(len(begins), source.values.shape[1])
    at = order if source.at is None else source.at.index_select(0, order)
    share = None if source.share is None else source.share.index_select(0, order)
    return F.embedding_bag(at, source.values, begins, mode="sum", per_sample_weights=share)


def distinct(ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the distinct ids below `count`, ascending, and for each id its index among them."""
    if count > MARKS * len(ids):
        rows, places = torch.unique(ids, return_inverse=True)
        return rows, places
    rows = ids.new_zeros(count, dtype=torch.bool).index_fill_(0, ids, True).nonzero().squeeze(1)
    places = ids.new_empty(count)
    places[rows] = torch.arange(len(rows), device=ids.device)
    return rows, places.index_select(0, ids)
