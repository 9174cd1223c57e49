"""Channels put side by side and taken apart: `concat slice split join dot`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.definition import Call, Called, Derivative, Effect, OpDef, Option, Positions, Traits, slots
from specc.ops.rules import Inputs, one_channel
from specc.types.axis import Axis, Type, union

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def _concat(check: Checker, node: Node, inputs: Inputs) -> Type:
    return Type(union(*inputs), sum(t.width for t in inputs))


def _slice(check: Checker, node: Node, inputs: Inputs) -> Type:
    start, stop = node.attrs["start"], node.attrs["stop"]
    check.require(node, 0 <= start < stop <= inputs[0].width, f"{inputs[0]} has no such channels")
    return inputs[0].with_width(stop - start)


def _dot(check: Checker, node: Node, inputs: Inputs) -> Type:
    check.require(node, inputs[0].width == inputs[1].width, "widths differ")
    return one_channel(check, node, inputs)


def _split(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    parted = axis.size is not None and axis.size > 0 and x.width % axis.size == 0
    check.require(node, parted and not x.has(axis), f"{x} has no such parts")
    return Type((*x.axes, axis), x.width // axis.size)


def _join(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    check.along(node, x, axis)
    check.require(node, axis.size is not None, f"`{axis}` is ragged")
    return x.without(axis).with_width(x.width * axis.size)


_SAME = Traits(effect=Effect.PURE, portable=True, positions=Positions.SAME)
_RESHAPED = Traits(effect=Effect.PURE, portable=True, positions=Positions.ALONG, view=True)
DEFINITIONS = (
    OpDef(
        op.CONCAT, "widths", "Channels of the values side by side.", slots("a*"), _concat, traits=_SAME,
        call=Call(("*a",)), derivative=Derivative(), noun="joined",
    ),
    OpDef(
        op.SLICE, "widths", "Channels start..stop-1 (made by passes).", slots("x"), _slice,
        attrs={"start": int, "stop": int},
        traits=Traits(effect=Effect.PURE, portable=True, positions=Positions.SAME, view=True),
        derivative=Derivative(),
    ),
    OpDef(
        op.SPLIT, "widths",
        "Channels in n equal parts along a new static axis; with `over` a sequence in chunks of n positions.",
        slots("x"), _split, attrs={"axis": Axis}, traits=_RESHAPED, derivative=Derivative(),
        call=Call(("x",), (Option("n", "count"),), {"over": False, "new": False, "as": True}),
    ),
    OpDef(
        op.JOIN, "widths",
        "A static axis back into channels, or the parts of chunks into their sequence: the inverse of split.",
        slots("x"), _join,
        attrs={"axis": Axis}, traits=_RESHAPED, derivative=Derivative(),
        call=Call(("x",), (Option("axis", "axis", None),), {"over": True}),
    ),
    OpDef(
        op.DOT, "widths", "Sum of products over channels: width 1.", slots("a b"), _dot,
        traits=Traits(effect=Effect.PURE, portable=True, positions=Positions.SAME, commutative=True),
        call=Call(("a", "b")), derivative=Derivative(inputs=True), lowering=Called("ops.dot"),
        noun="product",
    ),
)  # fmt: skip
