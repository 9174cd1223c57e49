"""Rows moved from one combination of axes to another.

Every function takes packed values [of.count, ...] and returns values [to.count, ...]; what a row is follows
from the `Rows` alone. Gradients flow to every value that is read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from specc_runtime.layout import Axis, Layout, Rows, source_position
from specc_runtime.ops.regroup import regroup

Axes = tuple[Axis, ...]


def pick(x: Tensor, index: Tensor) -> Tensor:
    """Return rows of x [n, ...] at an index, int64 [m]: [m, ...]. x may be empty only if the index is."""
    return x.index_select(0, index.to(x.device))


def expand(x: Tensor, of: Rows, to: Rows) -> Tensor:
    """Return each value repeated at every row of `to` that belongs to it."""
    return x if of is to else pick(x, to.index(of))


def expand_anew(x: Tensor, of: Rows, to: Rows) -> Tensor:
    """Return the same as `expand`, always as a copy, so that it may be written over."""
    return x.clone() if of is to else pick(x, to.index(of))


def repeat(x: Tensor, rows: Rows) -> Tensor:
    """Return a value that is the same everywhere, [1, ...], at every row. A view: no memory is used."""
    return x.expand(rows.count, *x.shape[1:])


def along(w: Tensor, *positions: Tensor) -> Tensor:
    """Return a free parameter [bound, ..., *rest] at positions along its first axes, each int64 [rows]:
    [rows, *rest]."""
    index = positions[0]
    for bound, position in zip(w.shape[1:], positions[1:], strict=False):
        index = index * bound + position
    return pick(w.flatten(0, len(positions) - 1), index)


def rename(x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    """Return the values along a copy of an axis. Rows move only if the copy has another place in the order
    of axes."""
    if tuple(new if a == old else a for a in of.axes) == to.axes:
        return x
    return pick(x, heads(of, to, old, new))


def head(x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    """Return the first positions of an axis: as many as the new axis has."""
    return pick(x, heads(of, to, old, new))


def heads(of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    """Return the rows that `head` picks."""
    return to.layout.planned(_later, of.axes, to.axes, old, new, 0)


def tail(x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    """Return all positions of an axis but the first."""
    return pick(x, tails(of, to, old, new))


def tails(of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    """Return the rows that `tail` picks."""
    return to.layout.planned(_later, of.axes, to.axes, old, new, 1)


def _later(layout: Layout, of: Axes, to: Axes, old: Axis, new: Axis, by: int) -> Tensor:
    """Return the rows of `of` at positions `by` later than those of `to`; axes inside of the old one come
    along."""
    rows = layout.rows(to)
    instead = {old: rows.position(new) + by if by else rows.position(new)}
    return rows.locate(layout.rows(of), instead | _carried(rows, of))


def _carried(rows: Rows, of: Axes) -> dict[Axis, Tensor]:
    """Return the positions along axes of other rows that came along as the one they live in was moved."""
    moved = [axis for axis in rows.axes if axis.carried in of and axis not in of]
    return {axis.source[0]: rows.position(axis) for axis in moved}


def chunk(x: Tensor, of: Rows, to: Rows, old: Axis, part: Axis) -> Tensor:
    """Return the positions of an axis in chunks. Rows move only where another axis is between."""
    before, after = of.axes, to.axes
    if before[-1] == old and after[-1] == part and before[:-1] == after[:-2]:
        return x
    return pick(x, to.layout.planned(_chunked, before, after, old, part))


def _chunked(layout: Layout, of: Axes, to: Axes, old: Axis, part: Axis) -> Tensor:
    """Return the row in the whole sequence of each position in a chunk."""
    rows = layout.rows(to)
    return rows.locate(layout.rows(of), {old: source_position(part, rows), **_carried(rows, of)})


def unchunk(x: Tensor, of: Rows, to: Rows, part: Axis, axis: Axis) -> Tensor:
    """Return the positions of all chunks as those of the axis."""
    before, after = of.axes, to.axes
    if after[-1] == axis and before[-1] == part and after[:-1] == before[:-2]:
        return x
    return pick(x, to.layout.planned(_unchunked, before, after, part, axis))


def _unchunked(layout: Layout, of: Axes, to: Axes, part: Axis, axis: Axis) -> Tensor:
    """Return the row in its chunk of each position."""
    rows, position = layout.rows(to), layout.rows(to).position(axis)
    assert part.parent is not None
    instead = {part.parent: position // part.number, part: position % part.number}
    for old in of:
        if (before := old.carried) is not None and before in to and old not in to:
            instead[old] = rows.position(before)
    return rows.locate(layout.rows(of), instead)


def append(
    x: Tensor, y: Tensor, of_x: Rows, of_y: Rows, to: Rows, old: Axis, new: Axis, second: Axis | None
) -> Tensor:
    """Return y after x along an axis: one vector (`second` None), or the positions of its axis `second`."""
    shape = torch.broadcast_shapes(x.shape[1:], y.shape[1:])
    both = torch.cat([x.expand(-1, *shape), y.expand(-1, *shape)])
    about = (of_x.axes, of_y.axes, to.axes, old, new, second)
    index = to.layout.planned(_appended, *about)
    rest = [{*rows.axes} - {axis} for rows, axis in ((of_x, old), (of_y, second), (to, new))]
    if rest[0] == rest[1] == rest[2]:
        # Each row is somewhere, and once: the gradient is a gather, too.
        return regroup(both, index, to.layout.planned(_inverse, *about))
    return pick(both, index)


def _appended(
    layout: Layout, of_x: Axes, of_y: Axes, to: Axes, old: Axis, new: Axis, second: Axis | None
) -> Tensor:
    """Return the rows that `append` picks from those of x followed by those of y."""
    rows, before = layout.rows(to), layout.rows(of_x)
    position, length = rows.position(new), rows.lengths_of(old)
    from_x = rows.locate(before, {old: position})
    from_y = rows.locate(layout.rows(of_y), {second: position - length} if second else {})
    return torch.where(position < length, from_x, before.count + from_y)


def _inverse(layout: Layout, *about: Any) -> Tensor:
    """Return where each row of x, and then of y, is in what `append` picks."""
    index = layout.planned(_appended, *about)
    inverse = torch.empty_like(index)
    inverse[index] = torch.arange(len(index), device=index.device)
    return inverse


def unroll(x: Tensor, of: Rows, to: Rows, axis: Axis, dim: int) -> Tensor:
    """Return a static axis at dimension `dim` as rows; the inverse gives it a dimension of its own."""
    return x.movedim(dim, 1)[to.index(of).to(x.device), to.position(axis).to(x.device)]


def top(
    x: Tensor, score: Tensor, of: Rows, to: Rows, old: Axis, new: Axis, own: Rows | None = None
) -> Tensor:
    """Return the positions of highest score, best first; of equal scores the earlier position.

    score: [of.count, ..., 1], with as many dimensions as x; each index along a dimension that is not 1
    selects for itself. own: the rows of x if they are fewer than the scores'; then a row has one score.
    """
    chosen = _best(score, of, to, old, new)
    if chosen.shape[1] == 1:
        places_of_x = chosen.squeeze(1)
        return pick(x, places_of_x if own is None else of.index(own).to(chosen.device)[places_of_x])
    return torch.take_along_dim(x, chosen.reshape(len(chosen), *score.shape[1:]), 0)


def ranked(score: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    """Return where along the axis the positions of highest score [of.count, 1] are, best first, of equal ones
    the earlier: int64 [to.count, 1]."""
    return of.position(old).to(score.device)[_best(score, of, to, old, new)]


def picked(x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    """Return the positions that were chosen, each with what lives in it. to: rows of a layout that knows the
    choice (`with_ranked`)."""
    return pick(x, to.layout.planned(_picked, of.axes, to.axes, old, new))


def _picked(layout: Layout, of: Axes, to: Axes, old: Axis, new: Axis) -> Tensor:
    """Return the row of each chosen position, or of what lives in it."""
    rows = layout.rows(to)
    return rows.locate(layout.rows(of), {old: source_position(new, rows), **_carried(rows, of)})


def _best(score: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    """Return the rows of the highest scores [of.count, ..., 1] of each sequence, best first, of equal ones
    the earlier: int64 [to.count, n], for each of the n numbers that a row has."""
    segment = of.index(of.without(old))
    order = torch.argsort(score.detach().flatten(1), dim=0, descending=True, stable=True)
    order = order.gather(0, torch.argsort(segment.to(order.device)[order], dim=0, stable=True))
    return order[to.layout.planned(_first, of.axes, to.axes, old, new).to(order.device)]


def _first(layout: Layout, of: Axes, to: Axes, old: Axis, new: Axis) -> Tensor:
    """Return for each row of the chosen positions the first place of its sequence among all rows."""
    rows, rest = layout.rows(to), layout.rows(of).without(old)
    lengths = rest.lengths_of(old)
    begins = lengths.cumsum(0) - lengths
    return begins[rows.index(rest)] + rows.position(new)


def flatten(x: Tensor, of: Rows, to: Rows, axis: Axis) -> Tensor:
    """Return the positions of an axis side by side as channels, with zeros up to its bound: [of.count, ...,
    w] to [to.count, ..., bound * w]."""
    place = of.layout.planned(_padded, of.axes, to.axes, axis)
    whole = x.new_zeros(to.count * axis.bound, *x.shape[1:]).index_copy(0, place.to(x.device), x)
    apart: Tensor = whole.unflatten(0, (to.count, axis.bound))
    return apart.movedim(1, -2).flatten(-2)


def _padded(layout: Layout, of: Axes, to: Axes, axis: Axis) -> Tensor:
    """Return the place of each row if every sequence were padded to its bound."""
    rows = layout.rows(of)
    return rows.index(layout.rows(to)) * axis.bound + rows.position(axis)
