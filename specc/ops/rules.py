"""Type rules that operations of several groups share.

Promises: each returns the type that follows from a node's inputs and attributes, or has the checker refuse
the node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.types.axis import Axis, Type, union

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker

Inputs = tuple[Type, ...]


def same(check: Checker, node: Node, inputs: Inputs) -> Type:
    """Return the type of the first input."""
    return inputs[0]


def broadcast(check: Checker, node: Node, inputs: Inputs) -> Type:
    """Return the type with the axes of all inputs, and the width of those that are wider than 1."""
    return check.broadcast(node, *inputs)


def one_channel(check: Checker, node: Node, inputs: Inputs) -> Type:
    """Return the type of `broadcast` with one channel."""
    return check.broadcast(node, *inputs).with_width(1)


def along(check: Checker, node: Node, inputs: Inputs) -> Type:
    """Return the type of the first input, for an operation along one of its axes or its channels. A second
    input is the condition on positions, and may have further axes."""
    x, axis = inputs[0], node.attrs["axis"]
    if axis is None:
        check.require(node, len(inputs) == 1, "channels are all counted")
        return x
    check.along(node, x, axis)
    if len(inputs) > 1:
        check.require(node, inputs[1].width == 1, "a condition has width 1")
        x = Type(union(*inputs), x.width)
        check.childless(node, x, axis)
    return x


def reduced(check: Checker, node: Node, inputs: Inputs) -> Type:
    """Return the type of `along` without the axis; for channels, with one channel."""
    x, axis = along(check, node, inputs), node.attrs["axis"]
    return x.with_width(1) if axis is None else x.without(axis)


def moved(check: Checker, node: Node, x: Type, old: Axis, new: Axis) -> Type:
    """Return the type of x with the new axis in place of the old one."""
    check.along(node, x, old)
    check.require(node, not x.has(new), f"{x} has `{new}` already")
    return Type(tuple(new if a == old else a for a in x.axes), x.width)


def line(axis: Axis | None) -> tuple[Axis, ...]:
    """Return an axis after its parents; empty for None."""
    return () if axis is None else (*line(axis.parent), axis)
