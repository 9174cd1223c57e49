"""What kernels compute that arrange rows and dimensions otherwise, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from specc.types import kinds
from specc.types.axis import Axis
from tests.executor.forms import form
from tests.executor.places import Rows
from tests.executor.sources import empty

if TYPE_CHECKING:
    from tests.executor.program import Execution


@form("expand")
def _expand(run: Execution, x: Tensor, of: Rows, to: Rows) -> Tensor:
    return x[run.layout.index(of, to)]


@form("repeat")
def _repeat(run: Execution, x: Tensor, rows: Rows) -> Tensor:
    return x.expand(len(rows), *x.shape[1:])


@form("rename", "head")
def _head(run: Execution, x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    return x[later(run, of, to, old, new)]


@form("tail")
def _tail(run: Execution, x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    return x[later(run, of, to, old, new, by=1)]


def later(run: Execution, of: Rows, to: Rows, old: Axis, new: Axis, by: int = 0) -> Tensor:
    return _from(run, of, to, old, lambda place: place[new] + by)


@form("chunk")
def _chunk(run: Execution, x: Tensor, of: Rows, to: Rows, old: Axis, part: Axis) -> Tensor:
    return x[_from(run, of, to, old, lambda place: kinds.position(part, place))]


def _from(
    run: Execution, of: Rows, to: Rows, old: Axis, position: Callable[[dict[Axis, int]], int]
) -> Tensor:
    """The row of each place at a position along the old axis; what lives in it comes along."""
    carried = kinds.carried(to.axes, of.axes)
    rows = []
    for place in to.places:
        within = {before: place[1][axis] for axis, before in carried.items()}
        rows.append(run.layout.row_of(of, place, {old: position(place[1]), **within}))
    return torch.tensor(rows, dtype=torch.int64)


@form("ranked")
def _ranked(run: Execution, score: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    found = []
    for place in to.places:
        along = range(run.layout.length(old, place))
        scores = [score[run.layout.row_of(of, place, {old: p})].item() for p in along]
        found.append([sorted(along, key=lambda p: -scores[p])[place[1][new]]])
    places = torch.tensor(found, dtype=torch.int64).reshape(len(to), 1)
    run.layout.rank(new, to, places)
    return places


@form("picked")
def _picked(run: Execution, x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    carried = kinds.carried(to.axes, of.axes)
    rows = []
    for place in to.places:
        within = {before: place[1][axis] for axis, before in carried.items()}
        there = run.layout.settings[place[0]].stands(new, place[1])
        rows.append(run.layout.row_of(of, place, {old: there, **within}))
    return x[torch.tensor(rows, dtype=torch.int64)]


@form("unchunk")
def _unchunk(run: Execution, x: Tensor, of: Rows, to: Rows, part: Axis, axis: Axis) -> Tensor:
    carried = kinds.carried(of.axes, to.axes)
    rows = []
    for place in to.places:
        chunk, position = divmod(place[1][axis], part.number)
        within = {old: place[1][new] for old, new in carried.items()}
        assert part.parent is not None
        rows.append(run.layout.row_of(of, place, {part.parent: chunk, part: position, **within}))
    return x[torch.tensor(rows, dtype=torch.int64)]


@form("append")
def append(
    run: Execution,
    x: Tensor,
    y: Tensor,
    of_x: Rows,
    of_y: Rows,
    to: Rows,
    old: Axis,
    new: Axis,
    second: Axis | None,
) -> Tensor:
    shape = torch.broadcast_shapes(x.shape[1:], y.shape[1:])
    rows = []
    for place in to.places:
        position, length = place[1][new], run.layout.length(old, place)
        if position < length:
            rows.append(x[run.layout.row_of(of_x, place, {old: position})].expand(shape))
        else:
            instead = {second: position - length} if second is not None else {}
            rows.append(y[run.layout.row_of(of_y, place, instead)].expand(shape))
    return torch.stack(rows) if rows else empty(run, *shape)


@form("unroll")
def _unroll(run: Execution, x: Tensor, of: Rows, to: Rows, axis: Axis, dim: int) -> Tensor:
    rows = [x[run.layout.row_of(of, place)].select(dim - 1, place[1][axis]) for place in to.places]
    return torch.stack(rows) if rows else x.select(dim, 0)[:0]


@form("flatten")
def _flatten(run: Execution, x: Tensor, of: Rows, to: Rows, axis: Axis) -> Tensor:
    rows = []
    for sequence in run.layout.sequences(of, axis, to):
        zeros = [x.new_zeros(x.shape[1:])] * (axis.bound - len(sequence))
        rows.append(torch.cat([*(x[row] for row in sequence), *zeros], -1))
    return torch.stack(rows) if rows else empty(run, *x.shape[1:-1], axis.bound * x.shape[-1])


@form("top")
def _top(
    run: Execution,
    x: Tensor,
    score: Tensor,
    of: Rows,
    to: Rows,
    old: Axis,
    new: Axis,
    own: Rows | None = None,
) -> Tensor:
    x = x if own is None else x[run.layout.index(own, of)]
    score, flat = flattened(score.detach().expand(*x.shape[:-1], 1)).squeeze(-1), flattened(x)
    rows = []
    for place in to.places:
        positions = range(run.layout.length(old, place))
        inside = [run.layout.row_of(of, place, {old: p}) for p in positions]
        best = [
            sorted(inside, key=lambda row, d=d: -float(score[row, d]))[place[1][new]]
            for d in range(flat.shape[1])
        ]
        rows.append(torch.stack([flat[row, d] for d, row in enumerate(best)]).reshape(x.shape[1:]))
    return torch.stack(rows) if rows else x[:0]


@form("dense.top")
def _dense_top(run: Execution, x: Tensor, score: Tensor, dim: int, k: int) -> Tensor:
    order = torch.argsort(-score.detach(), dim=dim, stable=True)
    return torch.take_along_dim(x, order.narrow(dim, 0, k), dim)


@form("dense.append")
def _dense_append(run: Execution, x: Tensor, y: Tensor, dim: int) -> Tensor:
    a, b = x.movedim(dim, 0), y.movedim(dim, 0)
    shape = torch.broadcast_shapes(a.shape[1:], b.shape[1:])
    return torch.cat([a.expand(-1, *shape), b.expand(-1, *shape)]).movedim(0, dim)


def flattened(x: Tensor) -> Tensor:
    """[n, *dims, w] as [n, d, w]."""
    return x.unsqueeze(1) if x.dim() == 2 else x.flatten(1, -2)
