"""Layouts that are known only as a model computes: what lives in the positions that a score chooses.

Promises: a layout with a choice has the rows that the one before it has, and those of axes that came along
with what was chosen. It is made anew in each forward pass: the batch's own layout stays as it is.
Leaves to others: which positions are best (ops/rows).
"""

from __future__ import annotations

from torch import Tensor

from specc_runtime.devices import transfer
from specc_runtime.elsewhere import Elsewhere
from specc_runtime.layout import CANDIDATE, Axis, Layout, Rows
from specc_runtime.tracing import untraced


@untraced
def with_ranked(layout: Layout, rows: Rows, axis: Axis, places: Tensor) -> Layout:
    """Return a layout in which it is known where the positions along an axis are along its source.

    rows: those that have a position of the axis each. places: int64 [rows.count, 1].
    """
    host = layout.host
    found = Ranked(host, axis, rows.axes, transfer(places, host.device).squeeze(1))
    return found if layout is host else Elsewhere(found, layout.device)


class Ranked(Layout):
    """A layout, and a choice of positions along an axis.

    before: the layout without it. rows: the axes of the rows that have such a position each. places: where
    along the axis's source these are, int64.
    """

    def __init__(self, before: Layout, axis: Axis, rows: tuple[Axis, ...], places: Tensor) -> None:
        super().__init__(before.size, before.given, before.candidates, before.device)
        self._before = before
        self._best = axis
        self._of = rows
        self._places = places
        self._follow: dict[Axis, bool] = {}

    def ranked(self, axis: Axis) -> tuple[Rows, Tensor]:
        return (self.rows(self._of), self._places) if axis == self._best else self._before.ranked(axis)

    def within(self, axis: Axis) -> Rows:
        axes = self._before.within(axis).axes
        return self[(CANDIDATE, *axes) if self._follows(axis) and CANDIDATE in self._of else axes]

    def lengths(self, axis: Axis) -> Tensor:
        return super().lengths(axis) if self._follows(axis) else self._before.lengths(axis)

    def _follows(self, axis: Axis) -> bool:
        """Whether the lengths of an axis depend on the choice."""
        found = self._follow.get(axis)
        if found is None:
            beside = (*axis.source, *(() if axis.parent is None else (axis.parent,)))
            came = axis.change == "inside" and axis.parent == self._best
            found = self._follow[axis] = came or any(map(self._follows, beside))
        return found
