"""Axes made and unmade. Each value is read at the place of the old axes that a place of the new ones
stands for."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from specc.interpret.meaning import Inputs, means
from specc.interpret.values import Place, Setting, Value
from specc.ir.graph import Node
from specc.ops import op
from specc.types import kinds
from specc.types.axis import Axis


@means(op.SPLIT)
def _split(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Position i has the i-th run of channels."""
    (x,), axis, n = inputs, node.attrs["axis"], node.type.width
    return s.value(node.type, lambda place: x[place][place[axis] * n : (place[axis] + 1) * n])


@means(op.JOIN)
def _join(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The channels of every position of a static axis, side by side."""
    (x,), axis = inputs, node.attrs["axis"]
    return s.value(node.type, lambda place: torch.cat([x[{**place, axis: i}] for i in range(axis.size)]))


@means(op.STACK)
def _stack(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Position i has the i-th value."""
    axis = node.attrs["axis"]
    return s.value(node.type, lambda place: inputs[place[axis]][place])


@means(op.FIRSTS, op.SECONDS)
def _members(node: Node, inputs: Inputs, s: Setting) -> Value:
    """x_i, or x_j, for the pairs i < j in the order (0,1), (0,2), .., (1,2), .."""
    (x,) = inputs
    over, axis = node.attrs["over"], node.attrs["axis"]
    members = [pair[node.op == op.SECONDS] for pair in itertools.combinations(range(over.size), 2)]
    return s.value(node.type, lambda place: x[{**place, over: members[place[axis]]}])


@means(op.PAIRS)
def _pairs(node: Node, inputs: Inputs, s: Setting) -> Value:
    """x_i * x_j for the pairs i < j in the order (0,1), (0,2), .., (1,2), .."""
    (x,), over, axis = inputs, node.attrs["over"], node.attrs["axis"]
    order = list(itertools.combinations(range(over.size), 2))

    def product(place: Place) -> Tensor:
        i, j = order[place[axis]]
        return x[{**place, over: i}] * x[{**place, over: j}]

    return s.value(node.type, product)


def _moved(node: Node, x: Value, place: Place, position: int) -> Tensor:
    """Return what x has at a position of the old axis, at the places of the axes inside of it."""
    carried = kinds.carried(node.type.axes, x.axes)
    return x[{**place, node.attrs["old"]: position, **{old: place[new] for new, old in carried.items()}}]


@means(op.RENAME, op.INIT, op.TAKE)
def _same_position(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The same positions along a new axis, which may have fewer of them."""
    (x,), axis = inputs, node.attrs["axis"]
    return s.value(node.type, lambda place: _moved(node, x, place, place[axis]))


@means(op.TAIL)
def _tail(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Position p is the old p + 1."""
    (x,), axis = inputs, node.attrs["axis"]
    return s.value(node.type, lambda place: _moved(node, x, place, place[axis] + 1))


@means(op.CHUNK)
def _chunk(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Position i of chunk c is the old c * n + i, for chunks of n."""
    (x,), part = inputs, node.attrs["axis"]
    return s.value(node.type, lambda place: _moved(node, x, place, kinds.position(part, place)))


@means(op.UNCHUNK)
def _unchunk(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The positions of all chunks, one after another."""
    (x,), part, axis = inputs, node.attrs["old"], node.attrs["axis"]
    inner = kinds.carried(x.axes, node.type.axes)

    def whole(place: Place) -> Tensor:
        chunk, position = divmod(place[axis], part.number)
        within = {a: place[old] for a, old in inner.items()}
        return x[{**place, part.parent: chunk, part: position, **within}]

    return s.value(node.type, whole)


@means(op.APPEND)
def _append(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The positions of x, then y: one vector, or the positions of its axis `second`."""
    x, y = inputs
    old, axis, second = node.attrs["old"], node.attrs["axis"], node.attrs["second"]

    def joined(place: Place) -> Tensor:
        p, length = place[axis], s.length(old, place)
        if p < length:
            return x[{**place, old: p}]
        return y[place if second is None else {**place, second: p - length}]

    return s.value(node.type, joined)


@means(op.TOP)
def _top(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Position p is that of the p-th highest score; of equal scores the earlier comes first."""
    x, score = inputs
    old, axis = node.attrs["old"], node.attrs["axis"]

    def best(place: Place) -> Tensor:
        return x[{**place, old: _ranking(score, old, place, s)[place[axis]]}]

    return s.value(node.type, best)


@means(op.RANKED)
def _ranked(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Position p has the place of the p-th highest score; of equal scores the earlier comes first. From then
    on the lengths of what lives in the best positions are known."""
    (score,), old, axis = inputs, node.attrs["old"], node.attrs["axis"]

    def place_of(place: Place) -> Tensor:
        return s.number(_ranking(score, old, place, s)[place[axis]])

    s.ranked[axis] = s.value(node.type, place_of)
    return s.ranked[axis]


@means(op.PICKED)
def _picked(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The positions that are ranked best, and in each what lives in it."""
    x, _ = inputs
    return s.value(node.type, lambda place: _moved(node, x, place, s.stands(node.attrs["axis"], place)))


def _ranking(score: Value, old: Axis, place: Place, s: Setting) -> list[int]:
    """Return the positions along an axis, the best first."""
    return sorted(_positions(old, place, s), key=lambda p: -score[{**place, old: p}].item())


@means(op.AT)
def _at(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The position is rounded down (`exact`: it must be a whole number); outside of the axis there is 0."""
    (x, position), axis = inputs, node.attrs["axis"]

    def read(place: Place) -> Tensor:
        wanted = position[place].item()
        if not 0 <= wanted < s.length(axis, place) or (node.attrs["exact"] and wanted % 1):
            return s.number(0).expand(node.type.width)
        return x[{**place, axis: int(wanted)}]

    return s.value(node.type, read)


def window(x: Value, axis: Axis, shift: int, place: Place, s: Setting, width: int) -> Tensor:
    """Return what stands so many positions further along an axis; 0 outside."""
    there = place[axis] + shift
    inside = 0 <= there < s.length(axis, place)
    return x[{**place, axis: there}] if inside else s.number(0).expand(width)


@means(op.WINDOWS)
def _windows(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Position i of the window is read `shifts[i]` positions further along the axis."""
    (x,), axis, tap, shifts = inputs, node.attrs["axis"], node.attrs["tap"], node.attrs["shifts"]
    return s.value(node.type, lambda place: window(x, axis, shifts[place[tap]], place, s, node.type.width))


@means(op.FLATTEN)
def _flatten(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The channels of every position side by side, and zeros up to the axis's bound."""
    (x,), axis = inputs, node.attrs["axis"]

    def flat(place: Place) -> Tensor:
        channels = [x[{**place, axis: p}] for p in _positions(axis, place, s)]
        there = torch.cat([s.number(0)[:0], *channels])
        return torch.cat([there, there.new_zeros(node.type.width - len(there))])

    return s.value(node.type, flat)


def _positions(axis: Axis, place: Place, s: Setting) -> range:
    return range(s.length(axis, place))
