"""Values read by position: one for each row, and windows.

Promises: outside of an axis the value is 0, and no gradient flows to a position or from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from specc_runtime.layout import Axis, Layout, Rows
from specc_runtime.ops.autocast import in_single

Axes = tuple[Axis, ...]


def at(
    x: Tensor, position: Tensor, of: Rows | None = None, to: Rows | None = None, exact: bool = False
) -> Tensor:
    """Return what x [n, size, ..., w] has along dimension 1 at positions [m, ..., 1]: [m, ..., w].

    of, to: the rows of x and of the positions, if they differ. An x of one row is read by all, and positions
    of one row read all.
    """
    size = x.shape[1]
    if of is None and len(position) == 1:
        position = position.expand(len(x), *position.shape[1:])
    place, inside = whole_positions(position, size, exact)
    if x.shape[0] > 1:
        own = torch.arange(len(place), device=x.device) if of is None or to is None else to.index(of)
        place = place + (own.to(x.device) * size).view(-1, *[1] * (place.dim() - 1))
    return _picked(x.flatten(0, 1), place, inside)


def at_rows(x: Tensor, position: Tensor, of: Rows, to: Rows, axis: Axis, exact: bool = False) -> Tensor:
    """Return what x [of.count, ..., w] has along a ragged axis at positions [to.count, ..., 1]: [to.count,
    ..., w]."""
    lengths = to.lengths_of(axis).to(x.device)
    whole, inside = whole_positions(position, lengths.view(-1, *[1] * (position.dim() - 2)), exact)
    place = to.locate(of, {axis: whole})
    return _picked(x, torch.where(inside, place, 0), inside)


def whole_positions(position: Tensor, length: int | Tensor, exact: bool) -> tuple[Tensor, Tensor]:
    """Return positions [..., 1] rounded down, int64 [...], and which of them exist; the others are replaced
    by 0."""
    position = position.detach().squeeze(-1)
    inside = (position >= 0) & (position < length)
    whole = torch.where(inside, position, 0).floor()
    if exact:
        inside = inside & (whole == position)
    return whole.long(), inside


def _picked(x: Tensor, place: Tensor, inside: Tensor) -> Tensor:
    """Return rows of x [n, ..., w] at places [m, ...], 0 where they are not inside; other dimensions
    broadcast."""
    shape = torch.broadcast_shapes(place.shape[1:], x.shape[1:-1])
    place, inside = (t.expand(-1, *shape) for t in (place, inside))
    if not x.numel():
        return x.new_zeros(*place.shape, x.shape[-1])
    for number, size in enumerate(x.shape[1:-1], 1):
        place = place * size
        if size > 1:
            behind = [1] * (place.dim() - 1 - number)
            place = place + torch.arange(size, device=x.device).view(-1, *behind)
    found: Tensor = x.flatten(0, -2).index_select(0, place.flatten())
    found.masked_fill_(~inside.flatten().unsqueeze(-1), 0)
    return found.view(*place.shape, x.shape[-1])


def windows_of_rows(x: Tensor, rows: Rows, axis: Axis, shifts: Sequence[int]) -> Tensor:
    """Return at each row the values at some shifts from it along a ragged axis: [n, ..., w] to [n, shifts,
    ..., w]."""
    place = rows.layout.planned(_shifted, rows.axes, axis, tuple(shifts)).to(x.device)
    if not len(x):
        return x.new_zeros(0, len(shifts), *x.shape[1:])
    return _masked(x.index_select(0, place.clamp(min=0).flatten()), place < 0, x.shape[1:])


def _shifted(layout: Layout, axes: Axes, axis: Axis, shifts: tuple[int, ...]) -> Tensor:
    """Return for each row the rows at some shifts from it, int64 [rows, shifts]; -1 where there is none."""
    rows = layout.rows(axes)
    position = rows.position(axis).unsqueeze(1) + torch.tensor(shifts, device="cpu")
    inside = (position >= 0) & (position < rows.lengths_of(axis).unsqueeze(1))
    found = rows.locate(rows, {axis: torch.where(inside, position, 0)})
    return torch.where(inside, found, -1)


def windows(x: Tensor, dim: int, shifts: Sequence[int]) -> Tensor:
    """Return windows as `windows_of_rows` does, along dimension `dim`; the window follows it."""
    size = x.shape[dim]
    place = torch.arange(size, device=x.device).unsqueeze(1) + torch.tensor(shifts, device=x.device)
    outside = (place < 0) | (place >= size)
    found = x.index_select(dim, place.clamp(0, max(size - 1, 0)).flatten())
    apart: Tensor = found.unflatten(dim, (size, -1))
    return apart.masked_fill(outside.view(*outside.shape, *[1] * (x.dim() - 1 - dim)), 0)


def _masked(found: Tensor, outside: Tensor, rest: torch.Size) -> Tensor:
    """Return found rows with 0 where they are outside, [n, shifts, *rest]."""
    found.masked_fill_(outside.flatten().view(-1, *[1] * len(rest)), 0)
    return found.view(*outside.shape, *rest)


@dataclass(frozen=True, eq=False)
class Met:
    """For each shift the rows that have something there, int64, and the rows that this is."""

    pairs: tuple[tuple[Tensor, Tensor], ...]

    @staticmethod
    def of(layout: Layout, axes: Axes, axis: Axis, shifts: tuple[int, ...]) -> Met:
        """Return them for shifts along a ragged axis."""
        found = []
        for place in _shifted(layout, axes, axis, shifts).unbind(1):
            there = (place >= 0).nonzero().squeeze(1)
            found.append((there, place.index_select(0, there)))
        return Met(tuple(found))

    def each(self, change: Callable[[Tensor], Tensor]) -> Met:
        """Return the same with every tensor changed."""
        return Met(tuple((change(there), change(source)) for there, source in self.pairs))


def convolve(
    x: Tensor, matrix: Tensor, bias: Tensor | None, rows: Rows, axis: Axis, shifts: Sequence[int]
) -> Tensor:
    """Return a linear layer of the values at some shifts from each row along a ragged axis, side by side: x
    [n, ..., w], matrix [out, shifts * w] to [n, ..., out]. Rows are copied for one shift at a time."""
    met = rows.layout.planned(Met.of, rows.axes, axis, tuple(shifts))
    out: Tensor = _Convolved.apply(x, matrix, met)  # type: ignore[no-untyped-call]
    return out if bias is None else out + bias


@in_single
class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, met: Met) -> Tensor:
        ctx.save_for_backward(x, matrix)
        ctx.met = met
        out = x.new_zeros(*x.shape[:-1], len(matrix))
        for part, (there, source) in zip(matrix.split(x.shape[-1], 1), met.pairs, strict=True):
            out.index_add_(0, there, x.index_select(0, source) @ part.t())
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, matrix = ctx.saved_tensors
        of_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        of_parts = []
        for part, (there, source) in zip(matrix.split(x.shape[-1], 1), ctx.met.pairs, strict=True):
            own = grad.index_select(0, there)
            if of_x is not None:
                of_x.index_add_(0, source, own @ part)
            if ctx.needs_input_grad[1]:
                of_parts.append(own.flatten(0, -2).t() @ x.index_select(0, source).flatten(0, -2))
        return of_x, torch.cat(of_parts, 1) if of_parts else None, None
