"""Rows moved from one combination of axes to another, as in `specc_runtime.ops.rows`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime.layout import Axis, source_position
from specc_runtime.portable.layout import Part, Rows, arrange, expand
from specc_runtime.portable.sequences import along as sequences

Ids = tuple[str, ...]


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
        if self.in_place(own.key, part.key):
            return number, None
        instead = self.places(part)
        for axis, before in _carried(part, own).items():
            instead[before.id] = part.position(axis)
        return number, part.locate(own, instead)

    def in_place(self, own: Ids, key: Ids) -> bool:
        """Whether a part of `to`, with these axes, has the rows of its part of `of` in the same order."""
        return self.new.change == "same" and key == tuple(
            self.new.id if id == self.old.id else id for id in own
        )

    def places(self, part: Part) -> dict[str, Tensor]:
        """The positions along what the axis was, by id."""
        position = part.position(self.new)
        return {self.old.id: position + self.by if self.by else position}


class Chunked(Moved):
    """Rows of a sequence as those of its chunks, `new` the positions in them."""

    def in_place(self, own: Ids, key: Ids) -> bool:
        assert self.new.parent is not None
        return own[-1] == self.old.id and key == (*own[:-1], self.new.parent.id, self.new.id)

    def places(self, part: Part) -> dict[str, Tensor]:
        return {self.old.id: source_position(self.new, part)}


class Unchunked(Moved):
    """Rows of chunks, `old` their positions, as those of the axis that was split."""

    def in_place(self, own: Ids, key: Ids) -> bool:
        assert self.old.parent is not None
        return key[-1] == self.new.id and own == (*key[:-1], self.old.parent.id, self.old.id)

    def places(self, part: Part) -> dict[str, Tensor]:
        chunks, position, k = self.old.parent, part.position(self.new), self.old.number
        assert chunks is not None
        return {chunks.id: position // k, self.old.id: position % k}


def _carried(part: Part, own: Part) -> dict[Axis, Axis]:
    """By axis of a part that came along as another was moved, or went back, what it is in the other part."""
    found: dict[Axis, Axis] = {}
    for axis in part.axes:
        if axis.id in own.key:
            continue
        if axis.carried is not None and axis.carried.id in own.key:
            found[axis] = axis.carried
        back = [a for a in own.axes if a.carried == axis and a.id not in part.key]
        if back:
            found[axis] = back[0]
    return found


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


def chunk(x: Tensor, of: Rows, to: Rows, old: Axis, part: Axis) -> Tensor:
    """The positions of an axis in chunks."""
    return Chunked(of, to, old, part, 0).of_value(x)


def unchunk(x: Tensor, of: Rows, to: Rows, part: Axis, axis: Axis) -> Tensor:
    """The positions of all chunks as those of the axis."""
    return Unchunked(of, to, part, axis, 0).of_value(x)


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
    "along", "append", "chunk", "expand", "flatten", "head", "heads", "product", "rename", "repeat", "tail",
    "tails", "top", "unchunk", "unroll",
]  # fmt: skip
