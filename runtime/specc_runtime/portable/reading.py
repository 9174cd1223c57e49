"""Values read by position, as in `specc_runtime.ops.reading`: outside of an axis there is 0."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime.layout import Axis
from specc_runtime.ops.reading import whole_positions
from specc_runtime.portable.layout import Rows


def at(
    x: Tensor, position: Tensor, of: Rows | None = None, to: Rows | None = None, exact: bool = False
) -> Tensor:
    """Along dimension 1 of x, [n, size, ..., w], what stands at positions [m, ..., 1]: [m, ..., w].

    of, to: the rows of x and of the positions, where these are others. An x of one row is read by all.
    """
    size, rows = x.shape[1], x.shape[0]
    place, inside = whole_positions(position, size, exact)
    if not (isinstance(rows, int) and rows == 1):
        own = torch.arange(place.shape[0], device=x.device) if of is None or to is None else to.index(of)
        place = place + (own * size).reshape(-1, *[1] * (place.dim() - 1))
    return _picked(x.flatten(0, 1), place, inside)


def at_rows(x: Tensor, position: Tensor, of: Rows, to: Rows, axis: Axis, exact: bool = False) -> Tensor:
    """Along a ragged axis of x [of.count, ..., w] what stands at positions [to.count, ..., 1]."""
    lengths = to.lengths_of(axis)
    whole, inside = whole_positions(position, lengths.reshape(-1, *[1] * (position.dim() - 2)), exact)
    return _picked(x, to.locate(of, {axis.id: whole}), inside)


def _picked(x: Tensor, place: Tensor, inside: Tensor) -> Tensor:
    """Rows of x [n, ..., w] at places [m, ...], 0 where they are not inside; other dimensions broadcast."""
    shape = torch.broadcast_shapes(place.shape[1:], x.shape[1:-1])
    place, inside = (t.expand(t.shape[0], *shape) for t in (place, inside))
    for number, size in enumerate(x.shape[1:-1], 1):
        place = place * size
        if size > 1:
            behind = [1] * (place.dim() - 1 - number)
            place = place + torch.arange(size, device=x.device).reshape(-1, *behind)
    flat = x.flatten(0, -2)
    index = torch.where(inside, place, flat.shape[0]).reshape(-1)
    whole = torch.cat([flat, flat.new_zeros(1, flat.shape[1])]).index_select(0, index)
    return whole.reshape(*place.shape, x.shape[-1])


def windows_of_rows(x: Tensor, rows: Rows, axis: Axis, shifts: Sequence[int]) -> Tensor:
    """At each row what stands at some shifts from it along a ragged axis: [n, ..., w] to
    [n, shifts, ..., w]."""
    position = rows.position(axis).unsqueeze(1) + torch.tensor(list(shifts))
    inside = (position >= 0) & (position < rows.lengths_of(axis).unsqueeze(1))
    place = rows.locate(rows, {axis.id: torch.where(inside, position, 0)})
    index = torch.where(inside, place, rows.count).reshape(-1)
    whole = torch.cat([x, x.new_zeros(1, *x.shape[1:])]).index_select(0, index)
    return whole.reshape(rows.count, len(shifts), *x.shape[1:])


def convolve(
    x: Tensor, matrix: Tensor, bias: Tensor | None, rows: Rows, axis: Axis, shifts: Sequence[int]
) -> Tensor:
    """A linear layer of what stands at some shifts from each row along a ragged axis, side by side."""
    seen = windows_of_rows(x, rows, axis, shifts)
    return F.linear(seen.movedim(1, -2).flatten(-2), matrix, bias)
