"""Where the rows of packed values are.

A value with ragged axes is a tensor [rows, ...]: one row for each combination of positions that
exists. `Axis` (in `specc_runtime.axis`) names a ragged axis, `Layout` knows the lengths in one batch, and
`Rows` is one combination of axes: how many rows it has, which example and position each of them is, and
which row of a coarser (or shifted) combination belongs to it.

Promises: index tensors are int64, computed on the host, once a batch and only when asked for. Rows are
ordered by example, then axis by axis in the order of `Axis.order`: parents first.
Leaves to others: what is done with the rows (ops), index tensors on other devices (elsewhere).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from specc_runtime.axis import CANDIDATE, Axis, fixed
from specc_runtime.tracing import number, once

__all__ = [
    "CANDIDATE",
    "Axis",
    "Layout",
    "P",
    "Planned",
    "Rows",
    "Steps",
    "fixed",
    "in_each",
    "origins",
    "source_position",
]


class _Structure(Protocol):
    """Several tensors that are made together."""

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same of changed tensors."""


Planned = Tensor | _Structure
"""What follows from a batch's lengths alone."""
P = TypeVar("P", bound=Planned)


@dataclass(eq=False)
class Layout:
    """The rows of one batch: `layout[axes]` for a combination of axes (parents come by themselves)."""

    size: int
    given: Mapping[str, Tensor]
    candidates: Tensor | None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    plans: dict[tuple[Callable[..., Any], tuple[Any, ...]], Any] = field(default_factory=dict, repr=False)
    """What was worked out about this batch, so that it is done once (see `planned`)."""
    _rows: dict[tuple[Axis, ...], Rows] = field(default_factory=dict, repr=False)
    _known: dict[str, Rows] = field(default_factory=dict, repr=False)
    _lengths: dict[Axis, Tensor] = field(default_factory=dict, repr=False)

    def __getitem__(self, axes: Axis | Iterable[Axis]) -> Rows:
        wanted = (axes,) if isinstance(axes, Axis) else tuple(axes)
        # By text, as torch.compile cannot rebuild sets.
        key = wanted[0].id if len(wanted) == 1 else " ".join(sorted([a.id for a in wanted]))
        rows = self._known.get(key)
        if rows is None:
            rows = self._known[key] = self.rows(self._closed(wanted))
        return rows

    @property
    def host(self) -> Layout:
        """The layout with its index tensors on the host."""
        return self

    def planned(self, question: Callable[..., P], *about: Any) -> P:
        """question(layout, *about), of the layout on the host, with its tensors where this layout's are.

        question: a function of a module, about: hashable; what it returns is `Planned`.
        """
        found: P | None = self.plans.get((question, about))
        if found is None:
            found = self.plans[question, about] = question(self, *about)
        return found

    def _closed(self, axes: Iterable[Axis]) -> tuple[Axis, ...]:
        """The axes with their parents, in order, without what this batch does not have."""
        closed: set[Axis] = set()
        for axis in axes:
            step: Axis | None = axis
            while step is not None:
                closed.add(step)
                step = step.parent
        if self.candidates is None:
            closed.discard(CANDIDATE)
        return tuple(sorted(closed, key=lambda a: a.order))

    def rows(self, axes: tuple[Axis, ...]) -> Rows:
        """The rows of axes that are complete and in order, as `Rows.axes` are."""
        rows = self._rows.get(axes)
        if rows is None:
            prefix = self.rows(axes[:-1]) if axes else None
            rows = self._rows[axes] = Rows(self, axes, prefix)
        return rows

    def ranked(self, axis: Axis) -> tuple[Rows, Tensor]:
        """Of an axis of positions that a score chose: rows, and where along its source each is."""
        raise KeyError(f"nothing has been chosen along {axis.id}")

    def within(self, axis: Axis) -> Rows:
        """The rows that have a length of the axis each: those of its parent."""
        return self[() if axis.parent is None else axis.parent]

    def lengths(self, axis: Axis) -> Tensor:
        """The number of positions of the axis, int64 [rows of its parent].

        Raises ValueError if the batch's lengths are not one for each row of the parent, or one
        exceeds the axis's bound.
        """
        lengths = self._lengths.get(axis)
        if lengths is None:
            lengths = self._lengths[axis] = self._derive(axis)
        return lengths

    def longest(self, axis: Axis) -> int:
        """The largest number of positions of the axis in one place."""
        return number(self.lengths(axis).max()) if self.within(axis).count else 0

    def _derive(self, axis: Axis) -> Tensor:
        if axis == CANDIDATE:
            assert self.candidates is not None
            return self.candidates
        rows = self.within(axis)
        if axis.change == "fixed":
            return torch.full((rows.count,), axis.bound, dtype=torch.int64, device=self.device)
        if axis.change == "given":
            return self._checked(axis, rows)
        if axis.change == "examples":
            return torch.full((rows.count,), self[CANDIDATE].count, dtype=torch.int64, device=self.device)
        if axis.change in ("parts", "inside", "across"):
            return self._moved(axis, rows)
        parts = [self.lengths(a).index_select(0, rows.index(self.within(a))) for a in axis.source]
        match axis.change:
            case "same":
                return parts[0]
            case "shorter":
                return (parts[0] - 1).clamp(min=0)
            case "appended":
                return parts[0] + 1
            case "joined":
                return parts[0] + parts[1]
            case "taken" | "best":
                return parts[0].clamp(max=axis.bound)
            case "chunks":
                return (parts[0] + (axis.number - 1)) // axis.number
        raise AssertionError(axis.change)

    def _moved(self, axis: Axis, rows: Rows) -> Tensor:
        """The lengths of an axis whose parent is another than its source's, at the parent's rows."""
        (source,) = axis.source
        before = self.within(source)
        if axis.change == "across":
            return self.lengths(source).index_select(0, in_each(rows, before))
        if axis.change == "parts":
            assert axis.parent is not None
            behind = rows.position(axis.parent) * axis.number
            lengths = self.lengths(source).index_select(0, rows.index(before))
            return (lengths - behind).clamp(max=axis.number)
        return self.lengths(source).index_select(0, rows.locate(before, origins(axis, rows)))

    def _checked(self, axis: Axis, rows: Rows) -> Tensor:
        lengths = self.given[axis.id]
        if lengths.shape != (rows.count,):
            raise ValueError(
                f"the batch's lengths of {axis.id} have shape {tuple(lengths.shape)}, "
                f"and there are {rows.count} rows that need one"
            )
        if rows.count and (longest := number(lengths.max())) > axis.bound:
            raise ValueError(
                f"the batch has {longest} positions of {axis.id} in one place; the spec's bound "
                f"is {axis.bound}"
            )
        return lengths


@dataclass(eq=False)
class Rows:
    """The rows of values with certain ragged axes.

    `prefix` is the combination without the last axis, of whose rows each has a run of rows here.
    """

    layout: Layout
    axes: tuple[Axis, ...]
    prefix: Rows | None
    _positions: dict[Axis, Tensor] = field(default_factory=dict, repr=False)
    _indices: dict[Rows, Tensor] = field(default_factory=dict, repr=False)
    _steps: dict[tuple[Axis, bool], Steps] = field(default_factory=dict, repr=False)

    @once
    def lengths(self) -> Tensor:
        """How many rows each row of the prefix has here, int64 [prefix.count]."""
        assert self.prefix is not None
        axis = self.axes[-1]
        own = self.layout.within(axis)
        lengths = self.layout.lengths(axis)
        return lengths if own is self.prefix else lengths.index_select(0, self.prefix.index(own))

    @once
    def count(self) -> int:
        return self.layout.size if self.prefix is None else number(self.lengths.sum())

    @once
    def starts(self) -> Tensor:
        """The first row of each row of the prefix, int64 [prefix.count]."""
        return self.lengths.cumsum(0) - self.lengths

    @once
    def _owner(self) -> Tensor:
        return torch.repeat_interleave(self.lengths, output_size=self.count)

    @once
    def example(self) -> Tensor:
        """The example of each row, int64 [count]."""
        return self._own if self.prefix is None else self.index(self.layout[()])

    @once
    def _own(self) -> Tensor:
        return torch.arange(self.count, device=self.layout.device)

    def position(self, axis: Axis) -> Tensor:
        """The position along one of the axes of each row, counted from 0, int64 [count]."""
        found = self._positions.get(axis)
        if found is None:
            assert self.prefix is not None
            if axis == self.axes[-1]:
                found = self._own - self.starts.index_select(0, self._owner)
            else:
                found = self.prefix.position(axis).index_select(0, self._owner)
            self._positions[axis] = found
        return found

    def index(self, to: Rows) -> Tensor:
        """For each row here its row in a combination of some of these axes, int64 [count]."""
        found = self._indices.get(to)
        if found is None:
            if to is self:
                found = self._own
            elif to is self.prefix:
                found = self._owner
            elif self.prefix is not None and set(to.axes) <= set(self.prefix.axes):
                found = self.prefix.index(to).index_select(0, self._owner)
            else:
                found = self.locate(to, {})
            self._indices[to] = found
        return found

    def locate(self, to: Rows, instead: Mapping[Axis, Tensor]) -> Tensor:
        """Rows of another combination, found axis by axis.

        `instead` gives the positions, int64 [count, ...], along those axes of `to` that these rows
        lack (or have otherwise). Where such a position does not exist the result is some number,
        perhaps outside of `to`.
        """
        if to.prefix is None:
            return self.example
        axis = to.axes[-1]
        row = self.locate(to.prefix, instead)
        position = instead[axis] if axis in instead else self.position(axis)
        more = max(row.dim(), position.dim())
        starts = to.starts
        row = row.clamp(0, max(len(starts) - 1, 0))
        start = starts[row] if len(starts) else torch.zeros_like(row)
        return _widened(start, more) + _widened(position, more)

    def without(self, axis: Axis) -> Rows:
        """The rows that remain when one axis is gone."""
        return self.layout[[a for a in self.axes if a != axis]]

    def lengths_of(self, axis: Axis) -> Tensor:
        """The length of an axis at each row (which need not have it), int64 [count]."""
        return self.layout.lengths(axis).index_select(0, self.index(self.layout.within(axis)))

    def steps(self, axis: Axis, backward: bool) -> Steps:
        """These rows step by step along one axis, for recurrences."""
        key = (axis, backward)
        if key not in self._steps:
            self._steps[key] = Steps.of(self, axis, backward)
        return self._steps[key]


class _Positioned(Protocol):
    """Rows that know where along their axes they are."""

    def position(self, axis: Axis) -> Tensor:
        """The position of each row along an axis, int64 [count]."""


def origins(axis: Axis, rows: _Positioned) -> dict[Axis, Tensor]:
    """The positions along the parents of what an axis was before its parent was moved, int64 [count] each, at
    rows that have its own parents."""
    found: dict[Axis, Tensor] = {}
    while (child := axis.carried) is not None:
        parent, old = axis.parent, child.parent
        assert parent is not None
        assert old is not None
        if parent.carried != old:
            found[old] = source_position(parent, rows, axis.number)
            break
        found[old] = rows.position(parent)
        axis = parent
    return found


def source_position(axis: Axis, rows: _Positioned, by: int = 0) -> Tensor:
    """The position along its source that each row's along a derived axis stands for, or `by` later."""
    if axis.change == "best" and isinstance(rows, Rows):  # no exported program has what lives in it
        of, places = rows.layout.ranked(axis)
        return places.index_select(0, rows.index(of)) + by
    position = rows.position(axis)
    if axis.change == "parts":
        assert axis.parent is not None
        position = rows.position(axis.parent) * axis.number + position
    return position + by if by else position


@dataclass(frozen=True, eq=False)
class Steps:
    """Rows ordered by step, and within a step by the length of their sequence, longest first: so the
    sequences that are still running at a step are the first `active[step]`.

    order: the sequences, longest first, int64 [sequences].
    gather: the rows in the order of steps, int64 [rows]; scatter: its inverse.
    active: how many sequences have each step.
    """

    order: Tensor
    gather: Tensor
    scatter: Tensor
    active: tuple[int, ...]

    def each(self, change: Callable[[Tensor], Tensor]) -> Steps:
        """The same of changed tensors."""
        steps = Steps(change(self.order), change(self.gather), change(self.scatter), self.active)
        steps.__dict__["ends"] = change(self.ends)
        return steps

    @staticmethod
    def of(rows: Rows, axis: Axis, backward: bool) -> Steps:
        sequences = rows.without(axis)
        lengths = sequences.lengths_of(axis)
        order = torch.argsort(lengths, descending=True, stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        ended = torch.bincount(lengths, minlength=1).cumsum(0)
        active = (len(lengths) - ended)[:-1]
        sequence, step = rows.index(sequences), rows.position(axis)
        if backward:
            step = lengths.index_select(0, sequence) - 1 - step
        begins = active.cumsum(0) - active
        scatter = begins.index_select(0, step) + rank.index_select(0, sequence) if rows.count else step
        gather = torch.empty_like(scatter)
        gather[scatter] = torch.arange(rows.count, device=scatter.device)
        return Steps(order, gather, scatter, tuple(active.tolist()))

    @once
    def ends(self) -> Tensor:
        """The last row of each sequence that has any, in `order`, int64 [active[0]]."""
        running = torch.tensor((*self.active, 0), device=self.gather.device)
        begins = running.cumsum(0) - running
        # The longest come first, and end last.
        last = torch.repeat_interleave(begins[:-1], -running.diff()).flip(0)
        return last + torch.arange(len(last), device=last.device)


def in_each(rows: Rows, of: Rows, there: Mapping[Axis, Axis] | None = None) -> Tensor:
    """For each row, which has a position along the examples of the batch, the row of `of` in that example,
    int64 [count]. `of` has axes of the candidate alone; there: by axis of it the one that it is here, where
    that is not its own in each example."""
    (batch,) = (axis for axis in rows.axes if axis.change == "examples")
    here = {axis.source[0]: axis for axis in rows.axes if axis.change == "across"} | dict(there or {})
    row = rows.position(batch)
    for place, axis in enumerate(of.axes):
        if axis != CANDIDATE:
            starts = rows.layout.rows(of.axes[: place + 1]).starts
            row = starts.index_select(0, row) + rows.position(here[axis])
    return row


def _widened(x: Tensor, dims: int) -> Tensor:
    return x.reshape(*x.shape, *([1] * (dims - x.dim())))
