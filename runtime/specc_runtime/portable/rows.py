"""Rows moved from one combination of axes to another, as in `specc_runtime.ops.rows`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime.layout import Axis
from specc_runtime.portable.layout import Part, Rows, arrange, expand
from specc_runtime.portable.sequences import along as sequences


@dataclass(frozen=True)
class Moved:
    """Rows of `of` at the same positions of another axis, or `by` later ones."""

    of: Rows
    to: Rows
    old: Axis
    new: Axis
    by: int

    def of_value(self, x: Tensor) -> Tensor:
        """These rows of x [of.count, ...]."""
        sources = [self._source(part) for part in self.to.parts]
        return arrange(x, self.of, self.to, sources)

    def _source(self, part: Part) -> tuple[int, Tensor | None]:
        of = self.of
        if self.new.id not in part.key:
            number = next(i for i, own in enumerate(of.parts) if own.key == part.key)
            return number, None
        number = of.number(self.old)
        own = of.parts[number]
        renamed = tuple(self.new.id if id == self.old.id else id for id in own.key)
        if self.new.change == "same" and renamed == part.key:
            return number, None
        position = part.position(self.new)
        return number, part.locate(own, {self.old.id: position + self.by if self.by else position})


def heads(of: Rows, to: Rows, old: Axis, new: Axis) -> Moved:
    return Moved(of, to, old, new, 0)


def tails(of: Rows, to: Rows, old: Axis, new: Axis) -> Moved:
    return Moved(of, to, old, new, 1)


def rename(x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    """The same values along a copy of an axis."""
    return heads(of, to, old, new).of_value(x)


def head(x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    """The first positions of an axis: as many as the new axis has."""
    return heads(of, to, old, new).of_value(x)


def tail(x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    """All positions of an axis but the first."""
    return tails(of, to, old, new).of_value(x)


def product(x: Tensor, matrix: Tensor, bias: Tensor | None, at: Moved, plus: Tensor | None = None) -> Tensor:
    """Some rows of x times a matrix, plus a bias and a value."""
    found = F.linear(at.of_value(x), matrix, bias)
    return found if plus is None else found + plus


def repeat(x: Tensor, rows: Rows) -> Tensor:
    """A value that is the same everywhere, [1, ...], at every row."""
    return x.expand(rows.count, *x.shape[1:])


def along(w: Tensor, *positions: Tensor) -> Tensor:
    """A free parameter [bound, ..., *rest] read at positions along its first axes, each int64 [rows]."""
    index = positions[0]
    for bound, position in zip(w.shape[1:], positions[1:], strict=False):
        index = index * bound + position
    return w.flatten(0, len(positions) - 1).index_select(0, index)


def append(
    x: Tensor, y: Tensor, of_x: Rows, of_y: Rows, to: Rows, old: Axis, new: Axis, second: Axis | None
) -> Tensor:
    """y after x along an axis: one vector (`second` None), or the positions of its axis `second`."""
    shape = torch.broadcast_shapes(x.shape[1:], y.shape[1:])
    x, y = (part.expand(part.shape[0], *shape) for part in (x, y))
    both = torch.cat([x, y, x.new_zeros(1, *shape)])
    position, length = to.position(new), to.lengths_of(old)
    from_x = to.locate(of_x, {old.id: position})
    from_y = to.locate(of_y, {second.id: position - length} if second else {})
    return both.index_select(0, torch.where(position < length, from_x, of_x.count + from_y))


def unroll(x: Tensor, of: Rows, to: Rows, axis: Axis, dim: int) -> Tensor:
    """A static axis at dimension `dim` as rows."""
    moved = x.movedim(dim, 1)
    places = to.index(of) * moved.shape[1] + to.position(axis)
    return moved.flatten(0, 1).index_select(0, places)


def top(
    x: Tensor, score: Tensor, of: Rows, to: Rows, old: Axis, new: Axis, own: Rows | None = None
) -> Tensor:
    """The positions of highest score, best first; of equal ones the earlier.

    own: the rows of x where they are fewer than the scores'.
    """
    x = x if own is None else expand(x, own, of)
    before, after = sequences(of, old), sequences(to, new)
    table, mask = before.some(x, None)
    scores = before.some(score.detach(), None)[0]
    width = table.shape[1]
    places = torch.arange(width, device=x.device)
    above = _above(scores, mask, places)
    # The rank of each place is its place in the order; a sequence's own come before what is padding.
    order = torch.zeros_like(above).scatter(
        1, above, places.reshape(1, -1, *([1] * (above.dim() - 2))).expand_as(above)
    )
    sequence = to.index(after.out)
    chosen = order.flatten(0, 1).index_select(0, sequence * width + to.position(new))
    whole = (sequence * width).reshape(-1, *([1] * (chosen.dim() - 1))) + chosen
    flat = table.flatten(0, 1)
    shape = [whole.shape[0], *torch.broadcast_shapes(whole.shape[1:], flat.shape[1:])]
    return flat.expand(flat.shape[0], *shape[1:]).gather(0, whole.expand(shape))


def _above(scores: Tensor, mask: Tensor, places: Tensor) -> Tensor:
    """How many places of its sequence come before each one: int64 [sequences, longest, ..., 1]."""
    one, other = scores.unsqueeze(2), scores.unsqueeze(1)
    there, others = mask.unsqueeze(2), mask.unsqueeze(1)
    earlier = places.reshape(1, 1, -1, *([1] * (scores.dim() - 2))) < places.reshape(
        1, -1, 1, *([1] * (scores.dim() - 2))
    )
    better = (other > one) | ((other == one) & earlier)
    before = (others & ~there) | ((others == there) & better)
    return before.to(torch.int64).sum(2)


def flatten(x: Tensor, of: Rows, to: Rows, axis: Axis) -> Tensor:
    """The positions of an axis side by side as channels, zeros up to its bound."""
    table = sequences(of, axis).table(x)
    padding = table.new_zeros(table.shape[0], axis.bound, *table.shape[2:])
    whole = torch.cat([table, padding], 1).narrow(1, 0, axis.bound)
    return whole.movedim(1, -2).flatten(-2)


__all__ = [
    "along", "append", "expand", "flatten", "head", "heads", "product", "rename", "repeat", "tail", "tails",
    "top", "unroll",
]  # fmt: skip
