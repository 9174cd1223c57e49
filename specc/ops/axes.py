"""Axes made and unmade: `stack pairs firsts seconds rename init tail append take top flatten`;
positions and lengths."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.definition import Call, Derivative, Effect, OpDef, Option, Origin, Positions, Traits, slots
from specc.ops.rules import Inputs, line, moved
from specc.types import kinds
from specc.types.axis import Axis, Type, union
from specc.types.kinds import alike

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def _stack(check: Checker, node: Node, inputs: Inputs) -> Type:
    axis = node.attrs["axis"]
    check.require(node, axis.size == len(inputs), f"`{axis}` has {axis.size} positions")
    check.require(node, len({t.width for t in inputs}) == 1, "widths differ")
    check.require(node, not any(t.has(axis) for t in inputs), f"an input has `{axis}` already")
    return Type((*union(*inputs), axis), inputs[0].width)


def _pairs(check: Checker, node: Node, inputs: Inputs) -> Type:
    over, axis = node.attrs["over"], node.attrs["axis"]
    check.require(node, over.size is not None and axis.size == comb(over.size, 2), "it is of other pairs")
    return moved(check, node, inputs[0], over, axis)


def _derived(check: Checker, node: Node, inputs: Inputs) -> Type:
    old, axis = node.attrs["old"], node.attrs["axis"]
    if node.op == op.RENAME:
        made = axis != old and alike(axis, old)
    else:
        made = axis.kind == _MADE[node.op] and axis.source == (old,)
    check.require(node, made, f"`{axis}` is not of `{old}`")
    check.require(node, axis.parent == old.parent, f"`{axis}` and `{old}` live in different axes")
    if "k" in node.attrs:
        check.require(node, axis.number == node.attrs["k"], f"`{axis}` has another k")
    for score in inputs[1:]:
        check.along(node, score, old)
        check.require(node, score.width == 1 and set(score.axes) <= set(inputs[0].axes), f"the score {score}")
    check.require(node, inputs[0].has(old) and not inputs[0].has(axis), f"{inputs[0]} along `{old}`")
    if node.op in _CARRIES:
        return kinds.moved(inputs[0], old, axis, by=_CARRIES[node.op])
    return moved(check, node, inputs[0], old, axis)


def _ranked(check: Checker, node: Node, inputs: Inputs) -> Type:
    (score,), old, axis = inputs, node.attrs["old"], node.attrs["axis"]
    check.require(node, axis.kind == "top" and axis.source == (old,), f"`{axis}` is not of `{old}`")
    check.require(node, axis.number == node.attrs["k"], f"`{axis}` has another k")
    check.require(node, score == Type(old.chain, 1), f"the score {score}")
    return moved(check, node, score, old, axis)


def _picked(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x, ranked), old, axis = inputs, node.attrs["old"], node.attrs["axis"]
    made = axis.kind == "top" and axis.source == (old,) and old in x.axes and not x.has(axis)
    check.require(node, made, f"`{axis}` is not of `{old}`")
    check.require(node, ranked == Type(axis.chain, 1), f"{ranked} does not say where `{axis}` is")
    return kinds.moved(x, old, axis)


def _chunk(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,), old, part = inputs, node.attrs["old"], node.attrs["axis"]
    made = part.kind == "part" and part.source == (old,) and old in x.axes
    check.require(node, made, f"`{part}` is not of `{old}`")
    return kinds.moved(x, old, part.parent, part)


def _unchunk(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,), part, axis = inputs, node.attrs["old"], node.attrs["axis"]
    made = part.kind == "part" and part.source == (axis,) and part in x.axes and not x.has(axis)
    check.require(node, made, f"`{part}` is not of `{axis}`")
    found = kinds.unchunked(x, part)
    check.require(node, found is not None, f"an axis of {x} lives in `{part}`")
    assert found is not None
    return found


def _append(check: Checker, node: Node, inputs: Inputs) -> Type:
    x, y = inputs
    old, axis, second = (node.attrs[k] for k in ("old", "axis", "second"))
    source = (old,) if second is None else (old, second)
    made = axis.kind == ("appended" if second is None else "joined") and axis.source == source
    check.require(node, made, f"`{axis}` is of others")
    outer = old.parent if old.parent is not None or second is None else second.parent
    check.require(node, axis.parent in (old.parent, outer), f"`{axis}` and `{old}` live in different axes")
    check.require(node, x.width == y.width, "widths differ")
    whole = moved(check, node, x, old, axis)
    if second is not None:
        check.along(node, y, second)
        y = y.without(second)
    check.require(node, not y.has(old), f"{y} has `{old}` itself")
    return Type(union(whole, y), x.width)


def _flatten(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    check.along(node, x, axis)
    return x.without(axis).with_width(x.width * axis.bound)


def _index(check: Checker, node: Node, inputs: Inputs) -> Type:
    return Type(line(node.attrs["axis"]), 1)


def _length(check: Checker, node: Node, inputs: Inputs) -> Type:
    return Type(line(node.attrs["axis"].parent), 1)


# By operation that takes the axes inside of the axis along: how many positions later the old ones are.
_CARRIES = {op.INIT: 0, op.TAIL: 1, op.TAKE: 0}
# By operation the kind of axis that it makes.
_MADE = {op.INIT: "shorter", op.TAIL: "shorter", op.TAKE: "taken", op.TOP: "top"}
_OVER_NEW = {"over": True, "new": False}
_OLD_AXIS = {"old": Axis, "axis": Axis}
_CHOSEN_LENGTHS = "how much lives in the best positions is known only once they are chosen"
_PURE = Traits(effect=Effect.PURE, portable=True)
_ALONG = Traits(effect=Effect.PURE, portable=True, positions=Positions.ALONG)
_OF_AXIS = Traits(effect=Effect.PURE, portable=True, source=Origin.AXIS)
_MOVED = Traits(effect=Effect.PURE, portable=True, moves_rows=True)
DEFINITIONS = (
    OpDef(
        op.STACK, "axes", "A space's fields (or several values) along a new static axis.", slots("a*"),
        _stack, attrs={"axis": Axis}, traits=_ALONG, derivative=Derivative(),
        call=Call(("*x",), clauses={"as": True}),
    ),
    OpDef(
        op.PAIRS, "axes", "Products x_i * x_j of all pairs i < j of a static axis.", slots("x"), _pairs,
        attrs={"over": Axis, "axis": Axis}, traits=_PURE, derivative=Derivative(inputs=True),
        call=Call(("x",), clauses={"over": True, "as": False}),
    ),
    *(
        OpDef(
            name, "axes", doc, slots("x"), _pairs, attrs={"over": Axis, "axis": Axis}, traits=_PURE,
            derivative=Derivative(), call=Call(("x",), clauses={"over": True, "as": False}),
        )
        for name, doc in (
            (op.FIRSTS, "Of each pair i < j of a static axis the first, along the axis that `pairs` makes."),
            (op.SECONDS, "Of each pair i < j of a static axis the second, along the same axis."),
        )
    ),
    OpDef(
        op.RENAME, "axes", "The same values along a copy of the axis.", slots("x"), _derived,
        attrs=_OLD_AXIS, traits=Traits(effect=Effect.PURE, portable=True, moves_rows=True, view=True),
        derivative=Derivative(), call=Call(("x",), clauses={"to": True}), drawn=False,
    ),
    OpDef(
        op.INIT, "axes", "All positions but the last.", slots("x"), _derived, attrs=_OLD_AXIS, traits=_MOVED,
        derivative=Derivative(), call=Call(("x",), clauses=_OVER_NEW),
    ),
    OpDef(
        op.TAIL, "axes", "All positions but the first.", slots("x"), _derived, attrs=_OLD_AXIS, traits=_MOVED,
        derivative=Derivative(), call=Call(("x",), clauses=_OVER_NEW),
    ),
    OpDef(
        op.CHUNK, "axes", "A ragged axis as chunks, and the positions in each of them.", slots("x"), _chunk,
        attrs=_OLD_AXIS, traits=_MOVED, derivative=Derivative(),
    ),
    OpDef(
        op.UNCHUNK, "axes", "The positions of all chunks of an axis, as that axis.", slots("x"), _unchunk,
        attrs=_OLD_AXIS, traits=_MOVED, derivative=Derivative(),
    ),
    OpDef(
        op.APPEND, "axes", "A vector at the end of a sequence, or two sequences joined.", slots("x y"),
        _append, attrs={**_OLD_AXIS, "second": Axis | None}, traits=_MOVED, derivative=Derivative(),
        call=Call(("x", "y"), clauses=_OVER_NEW),
    ),
    OpDef(
        op.TAKE, "axes", "The first k positions.", slots("x"), _derived, attrs={**_OLD_AXIS, "k": int},
        traits=_MOVED, derivative=Derivative(), call=Call(("x",), (Option("k", "count"),), _OVER_NEW),
    ),
    OpDef(
        op.TOP, "axes", "The k positions of highest score, best first; no gradient flows to the score.",
        slots("x score"), _derived, attrs={**_OLD_AXIS, "k": int}, traits=_MOVED, derivative=Derivative(),
        call=Call(("x",), (Option("k", "count"),), {**_OVER_NEW, "by": True}),
    ),
    OpDef(
        op.RANKED, "axes", "Of the k positions of highest score, best first, where along the axis each is.",
        slots("score"), _ranked, attrs={**_OLD_AXIS, "k": int},
        traits=Traits(effect=Effect.PURE, passes_gradient=False), drawn=False, unportable=_CHOSEN_LENGTHS,
    ),
    OpDef(
        op.PICKED, "axes", "The positions that are ranked best, each with what lives in it.",
        slots("x ranked"), _picked, attrs=_OLD_AXIS, traits=Traits(effect=Effect.PURE, moves_rows=True),
        derivative=Derivative(), noun="picked", unportable=_CHOSEN_LENGTHS,
    ),
    OpDef(
        op.FLATTEN, "axes", "All positions side by side as channels, filled with zeros to the bound.",
        slots("x"), _flatten, attrs={"axis": Axis}, traits=_ALONG, derivative=Derivative(),
        call=Call(("x",), clauses={"over": True}),
    ),
    OpDef(
        op.INDEX, "axes", "The position along an axis, counted from 0.", (), _index,
        attrs={"axis": Axis}, traits=_OF_AXIS, derivative=Derivative(), drawn=False,
        call=Call((), (Option("axis", "axis"),)),
    ),
    OpDef(
        op.LENGTH, "axes", "The number of positions of an axis.", (), _length,
        attrs={"axis": Axis}, traits=_OF_AXIS, derivative=Derivative(), drawn=False,
        call=Call((), (Option("axis", "axis"),)),
    ),
)  # fmt: skip
