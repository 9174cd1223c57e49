"""Where the rows of packed values are, said in operations that torch.export and ONNX know.

As `specc_runtime.layout`, of a batch whose sizes are symbols. A number of rows is that of an input where one
has it, else one `.item()`. The owners of rows are the running sum of the places where segments start.

Rows are a grid of parts, the last part fastest. In a batch of several requests there is one part: every row
of every request. In the form of one request each root axis is a part of its own, and so are candidates: what
is the same for all candidates is broadcast over their part, and reduced along a dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor

from specc_runtime.layout import CANDIDATE, Axis, origins

T = TypeVar("T")


def counted(count: Tensor) -> int:
    """A number of rows that a tensor of one number says."""
    found: int = count.item()  # type: ignore[assignment]
    torch._check(found >= 0)
    return found


class Layout:
    """The rows of a batch: `layout[axes]` for a combination of axes.

    size: how many requests; None in the form of one request. lengths: by axis id, int64 [rows of its parent];
    candidates among them, as "candidate", where the batch says how many each request has. sizes: by the ids
    of axes, outermost first, how many rows they have together, as the shape of an input says it.
    """

    def __init__(
        self,
        size: int | None,
        lengths: Mapping[str, Tensor],
        sizes: Mapping[tuple[str, ...], int],
        candidates: bool,
        device: torch.device,
    ) -> None:
        self.size = size
        self.given = lengths
        self.sizes = sizes
        self.candidates = candidates
        self.device = device
        self.known: dict[Any, Any] = {}

    def once(self, key: Any, compute: Callable[[], T]) -> T:
        """What was worked out before, under a key."""
        if key not in self.known:
            self.known[key] = compute()
        found: T = self.known[key]
        return found

    def __getitem__(self, axes: Axis | Iterable[Axis]) -> Rows:
        every = self._closed((axes,) if isinstance(axes, Axis) else axes)
        return self.once(("rows", *(a.id for a in every)), lambda: Rows(self, self._parts(every)))

    def _closed(self, axes: Iterable[Axis]) -> list[Axis]:
        """The axes with their parents, in order, without candidates where there are none."""
        closed: dict[str, Axis] = {}
        for axis in axes:
            step: Axis | None = axis
            while step is not None:
                closed[step.id] = step
                step = step.parent
        if not self.candidates:
            closed.pop(CANDIDATE.id, None)
        return sorted(closed.values(), key=lambda a: a.order)

    def _parts(self, axes: Sequence[Axis]) -> list[Part]:
        if self.size is not None:
            return [self.part(axes)]
        roots: dict[str, list[Axis]] = {}
        for axis in axes:
            roots.setdefault(self.root(axis).id, []).append(axis)
        return [self.part(own) for own in roots.values()]

    def root(self, axis: Axis) -> Axis:
        """The outermost axis that one is nested in."""
        while axis.parent is not None and (self.candidates or axis.parent != CANDIDATE):
            axis = axis.parent
        return axis

    def part(self, axes: Sequence[Axis]) -> Part:
        return self.once(("part", *(a.id for a in axes)), lambda: Part(self, tuple(axes)))

    def within(self, axis: Axis) -> Part:
        """The rows that have a length of the axis each: those of its parent."""
        return self.part(self._closed(() if axis.parent is None else (axis.parent,)))

    def lengths(self, axis: Axis) -> Tensor:
        """The number of positions of the axis, int64 [rows of its parent]."""
        return self.once(("lengths", axis.id), lambda: self._lengths(axis))

    def _lengths(self, axis: Axis) -> Tensor:
        if axis.id in self.given:
            return self.given[axis.id]
        rows = self.within(axis)
        if axis.change == "fixed":
            return torch.ones(rows.count, dtype=torch.int64, device=self.device) * axis.bound
        if not axis.source:
            # In the form of one request: as many as an input has.
            return torch.ones(self.sizes[axis.id,], dtype=torch.int64, device=self.device).sum().reshape(1)
        if axis.change in ("parts", "inside"):
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

    def _moved(self, axis: Axis, rows: Part) -> Tensor:
        """The lengths of an axis whose parent is another than its source's, at the parent's rows."""
        (source,) = axis.source
        before = self.within(source)
        if axis.change == "parts":
            assert axis.parent is not None
            behind = rows.position(axis.parent) * axis.number
            lengths = self.lengths(source).index_select(0, rows.index(before))
            return (lengths - behind).clamp(max=axis.number)
        places = {a.id: position for a, position in origins(axis, rows).items()}
        return self.lengths(source).index_select(0, rows.locate(before, places))

    def longest(self, axis: Axis) -> int:
        """The largest number of positions of an axis, at least 2: exporters ask whether a size is 1, and have
        no answer to where a tensor says it."""
        return self.once(("longest", axis.id), lambda: self._longest(axis))

    def _longest(self, axis: Axis) -> int:
        if axis.change == "fixed":
            return max(axis.bound, 2)
        lengths = self.lengths(axis)
        longest = torch.cat([lengths, torch.full((1,), 2, dtype=torch.int64, device=self.device)]).max()
        found = counted(longest)
        torch._check(found >= 2)
        return found


class Part:
    """The rows of some axes, each nested in one before it or in the request; without any, the requests."""

    def __init__(self, layout: Layout, axes: tuple[Axis, ...]) -> None:
        self.layout = layout
        self.axes = axes
        self.key = tuple(a.id for a in axes)

    @property
    def prefix(self) -> Part:
        return self.layout.part(self.axes[:-1])

    def _once(self, name: str, compute: Callable[[], T], *more: str) -> T:
        return self.layout.once((name, self.key, *more), compute)

    @property
    def count(self) -> int:
        return self._once("count", self._count)

    def _count(self) -> int:
        layout = self.layout
        if not self.axes:
            return 1 if layout.size is None else layout.size
        if self.key in layout.sizes:
            return layout.sizes[self.key]
        axis = self.axes[-1]
        if len(self.axes) == 1 and layout.size is None:
            if axis.change == "fixed":
                return axis.bound
            own = [layout.part((a,)).count for a in axis.source]
            if axis.change in ("same", "joined", "appended"):
                return sum(own) + (1 if axis.change == "appended" and len(own) == 1 else 0)
        if axis.change == "same":
            old = layout._closed((*self.axes[:-1], axis.source[0]))
            if len(old) == len(self.axes):
                return layout.part(old).count
        if axis.change == "parts":
            rest = [a for a in self.axes[:-1] if a != axis.parent]
            return layout.part(layout._closed((*rest, *axis.source))).count
        return counted(self.lengths.sum())

    @property
    def lengths(self) -> Tensor:
        """How many rows each row of the prefix has here, int64 [prefix.count]."""
        return self.prefix.lengths_of(self.axes[-1])

    @property
    def starts(self) -> Tensor:
        """The first row of each row of the prefix, int64 [prefix.count]."""
        return self._once("starts", lambda: self.lengths.cumsum(0) - self.lengths)

    @property
    def own(self) -> Tensor:
        return self._once("own", lambda: torch.arange(self.count, device=self.layout.device))

    @property
    def owner(self) -> Tensor:
        """The row of the prefix that each row is of, int64 [count]."""
        return self._once("owner", lambda: owners(self.lengths, self.starts, self.count))

    @property
    def single(self) -> bool:
        """Whether it is one run of rows, of the one request."""
        return self.layout.size is None and len(self.axes) == 1

    def position(self, axis: Axis) -> Tensor:
        """The position along an axis of each row, int64 [count]."""
        return self._once("position", lambda: self._position(axis), axis.id)

    def _position(self, axis: Axis) -> Tensor:
        if self.single:
            return self.own
        if axis == self.axes[-1]:
            return self.own - self.starts.index_select(0, self.owner)
        return self.prefix.position(axis).index_select(0, self.owner)

    def index(self, to: Part) -> Tensor:
        """For each row its row among those of some of its axes, int64 [count]."""
        return self._once("index", lambda: self._index(to), *to.key)

    def _index(self, to: Part) -> Tensor:
        if to.key == self.key:
            return self.own
        if not to.axes and self.layout.size is None:
            return torch.zeros_like(self.own)
        if to.key == self.key[:-1]:
            return self.owner
        if set(to.key) <= set(self.key[:-1]):
            return self.prefix.index(to).index_select(0, self.owner)
        return self.locate(to, {})

    def locate(self, to: Part, instead: Mapping[str, Tensor]) -> Tensor:
        """Rows of another combination, found axis by axis.

        instead: by axis id, the positions along it, int64 [count] or [count or 1, n], where these rows lack
        it.
        Where there is no such position the result is some number.
        """
        if not to.axes:
            return self.index(to) if to.layout.size is not None else torch.zeros_like(self.own)
        axis = to.axes[-1]
        position = instead[axis.id] if axis.id in instead else self.position(axis)
        if to.single:
            return position
        return to.after(self.locate(to.prefix, instead), position)

    def after(self, row: Tensor, position: Tensor) -> Tensor:
        """The rows so many positions after the first one of rows of the prefix."""
        # One more, for a row that is not there.
        starts = torch.cat([self.starts, self.starts.new_zeros(1)])
        last = self.starts.shape[0]
        return _sum(starts.index_select(0, row.clamp(0, last).reshape(-1)).reshape(row.shape), position)

    def lengths_of(self, axis: Axis) -> Tensor:
        """The length of an axis at each row, int64 [count]."""
        return self._once("length", lambda: self._lengths_of(axis), axis.id)

    def _lengths_of(self, axis: Axis) -> Tensor:
        lengths, within = self.layout.lengths(axis), self.layout.within(axis)
        return lengths if within.key == self.key else lengths.index_select(0, self.index(within))


class Rows:
    """Rows of several parts: a grid of theirs."""

    def __init__(self, layout: Layout, parts: Sequence[Part]) -> None:
        self.layout = layout
        self.parts = tuple(parts)
        self.axes = tuple(a for part in parts for a in part.axes)
        self.key = tuple(a.id for a in self.axes)

    @property
    def sizes(self) -> list[int]:
        return [part.count for part in self.parts]

    @property
    def count(self) -> int:
        return prod(self.sizes)

    def without(self, axis: Axis) -> Rows:
        """The rows that remain when one axis is gone."""
        return self.layout[[a for a in self.axes if a != axis]]

    def number(self, axis: Axis) -> int:
        """The number of the part that has an axis."""
        return next(i for i, part in enumerate(self.parts) if axis.id in part.key)

    def spread(self, x: Tensor, number: int) -> Tensor:
        """What a part's rows have [part.count, ...], at each row [count, ...]."""
        if len(self.parts) == 1:
            return x
        rest = x.shape[1:]
        shape = [part.count if i == number else 1 for i, part in enumerate(self.parts)]
        return merged(x.reshape(*shape, *rest).expand(*self.sizes, *rest), self.count, *rest)

    def position(self, axis: Axis) -> Tensor:
        """The position along an axis of each row, int64 [count]."""
        number = self.number(axis)
        return self.spread(self.parts[number].position(axis), number)

    def lengths_of(self, axis: Axis) -> Tensor:
        """The length of an axis at each row, int64 [count]."""
        within = self.layout.within(axis)
        for number, part in enumerate(self.parts):
            if set(within.key) <= set(part.key) and (within.axes or self.layout.size is not None):
                return self.spread(part.lengths_of(axis), number)
        return self.layout.lengths(axis).expand(self.count)

    def index(self, to: Rows) -> Tensor:
        """For each row its row among those of some of its axes, int64 [count]."""
        if len(self.parts) == 1 and len(to.parts) == 1:
            return self.parts[0].index(to.parts[0])
        return expand(torch.arange(to.count, device=self.layout.device), to, self)

    def locate(self, to: Rows, instead: Mapping[str, Tensor]) -> Tensor:
        """For each row a row of another grid, whose axes it has but for those of `instead`: by axis id, the
        positions along it, int64 [count, ...]. Where there is no such position the result is some number."""
        found: Tensor | None = None
        for part in to.parts:
            row = (
                None
                if self.layout.size is None
                else self.spread(self.parts[0].index(self.layout.part(())), 0)
            )
            for depth, axis in enumerate(part.axes, 1):
                position = instead[axis.id] if axis.id in instead else self.position(axis)
                row = position if row is None else self.layout.part(part.axes[:depth]).after(row, position)
            if row is not None:
                found = row if found is None else _sum(found * part.count, row)
        return (
            torch.zeros(self.count, dtype=torch.int64, device=self.layout.device) if found is None else found
        )


def _sum(a: Tensor, b: Tensor) -> Tensor:
    """The sum of two of the same rows, [rows, ...], of which one may lack the last dimensions."""
    more = max(a.dim(), b.dim())
    a, b = (x.reshape(*x.shape, *([1] * (more - x.dim()))) for x in (a, b))
    return a + b


def owners(lengths: Tensor, starts: Tensor, count: int) -> Tensor:
    """The segment that each of `count` rows is of, int64 [count].

    lengths, starts: of the segments, int64.
    """
    marks = torch.zeros(count + 1, dtype=torch.int64, device=lengths.device)
    marks = marks.scatter_add(0, starts, torch.ones_like(starts))
    return marks.cumsum(0)[:count] - 1


def merged(x: Tensor, *sizes: int) -> Tensor:
    """x.reshape(sizes), where x is expanded or turned.

    A copy: where sizes may be 0, torch.export cannot tell that the result of a reshape is contiguous, and
    guards against it.
    """
    return x.reshape(sizes).clone(memory_format=torch.contiguous_format)


Sources = Sequence[tuple[int | None, Tensor | None]]


def arrange(x: Tensor, of: Rows, to: Rows, sources: Sources) -> Tensor:
    """Rows x [of.count, ...] as [to.count, ...].

    sources: for each part of `to` the number of the part of `of` that it is from, None for one along which
    all are the same; and the rows of that part, None for all.
    """
    if len(of.parts) == len(to.parts) == 1 and sources[0][0] is not None:
        index = sources[0][1]
        return x if index is None else x.index_select(0, index)
    rest = x.shape[1:]
    grid = x.reshape((*of.sizes, *rest))  # which may be nothing: one row of a request
    order = [number for number, _ in sources if number is not None]
    if order != sorted(order):
        grid = grid.permute(*order, *range(len(order), grid.dim()))
    for place, (number, index) in enumerate(sources):
        if number is None:
            grid = grid.unsqueeze(place)
        elif index is not None:
            grid = grid.index_select(place, index)
    return merged(grid.expand((*to.sizes, *rest)), to.count, *rest)


def expand(x: Tensor, of: Rows, to: Rows) -> Tensor:
    """Each value repeated at every row of `to` that belongs to it: a broadcast over parts that `of` lacks."""
    if of.key == to.key:
        return x
    sources: list[tuple[int | None, Tensor | None]] = []
    for part in to.parts:
        number = next((i for i, own in enumerate(of.parts) if set(own.key) <= set(part.key)), None)
        same = number is None or of.parts[number].key == part.key
        sources.append((number, None if number is None or same else part.index(of.parts[number])))
    return arrange(x, of, to, sources)
