"""Values read by position: `at` and `windows`, and what a linear layer of a window becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.definition import Call, Derivative, Effect, OpDef, Option, Positions, Traits, slots
from specc.ops.fused import projected
from specc.ops.rules import Inputs
from specc.types.axis import Axis, Type, union

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def read_at(x: Type, position: Type, axis: Axis) -> Type:
    """Return the type of x read at positions of one of its axes: that axis goes, unless the positions have
    it."""
    return Type(union(x.without(axis), position), x.width)


def _at(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x, position), axis = inputs, node.attrs["axis"]
    check.along(node, x, axis)
    check.require(node, position.width == 1, "a position is one number")
    return read_at(x, position, axis)


def _windows(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,), tap = inputs, node.attrs["tap"]
    check.along(node, x, node.attrs["axis"])
    check.require(node, tap.size == len(node.attrs["shifts"]), f"`{tap}` has {tap.size} positions")
    check.require(node, not x.has(tap), f"{x} has `{tap}` already")
    return Type((*x.axes, tap), x.width)


def _convolve(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,), products = inputs, node.attrs["products"]
    check.along(node, x, node.attrs["axis"])
    check.require(node, len(products) == 1, "it is one product")
    return projected(check, node, x.with_width(x.width * len(node.attrs["shifts"])), products)


def shifts(size: int, align: str, dilation: int) -> tuple[int, ...]:
    """Return where each position of a window is read, counted from the window's own
    position, oldest first."""
    before = size - 1 if align == "causal" else size // 2
    return tuple((place - before) * dilation for place in range(size))


_ALONG = Traits(effect=Effect.PURE, portable=True, positions=Positions.ALONG)
_ALIGN = Option("align", "choice", "causal", choices=("causal", "centred"))
DEFINITIONS = (
    # exact: where the position is no whole number the value is 0.
    OpDef(
        op.AT, "axes", "x at the position that a number says, rounded down; 0 outside of the axis.",
        slots("x position"), _at, attrs={"axis": Axis, "exact": bool}, traits=_ALONG,
        derivative=Derivative(), call=Call(("x",), clauses={"over": True, "=": True}), noun="read",
    ),
    OpDef(
        op.WINDOWS, "axes",
        "At each position the n positions up to it (`causal`), or around it (`centred`), oldest first, along "
        "a new axis; 0 outside.",
        slots("x"), _windows, attrs={"axis": Axis, "tap": Axis, "shifts": tuple}, traits=_ALONG,
        derivative=Derivative(),
        call=Call(
            ("x",), (Option("n", "count"), _ALIGN, Option("dilation", "count", 1)),
            {"over": True, "as": True},
        ),
    ),
    OpDef(
        op.CONVOLVE, "fused",
        "A product of what stands at some `shifts` from each position, side by side, 0 outside: a linear "
        "layer of a window.",
        slots("x"), _convolve, attrs={"axis": Axis, "shifts": tuple, "products": tuple},
        weights=slots("matrix bias?"), traits=_ALONG, derivative=Derivative(inputs=True), noun="convolved",
    ),
)  # fmt: skip
