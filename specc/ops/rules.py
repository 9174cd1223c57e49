"""Type rules that operations of several groups have.

Promises: each gives the type that follows from a node's inputs and attributes, or has the checker refuse it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.types.axis import Axis, Type, union

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker

Inputs = tuple[Type, ...]


def same(check: Checker, node: Node, inputs: Inputs) -> Type:
    """The type of the first input."""
    return inputs[0]


def broadcast(check: Checker, node: Node, inputs: Inputs) -> Type:
    """All inputs' axes, and the width of those that are wider than 1."""
    return check.broadcast(node, *inputs)


def one_channel(check: Checker, node: Node, inputs: Inputs) -> Type:
    """As `broadcast`, with one channel."""
    return check.broadcast(node, *inputs).with_width(1)


def along(check: Checker, node: Node, inputs: Inputs) -> Type:
    """The type of the first input, along one of whose axes (or channels) it works. A second input says which
    positions count, and may bring in axes of its own."""
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
    """As `along`, without the axis; of channels, one."""
    x, axis = along(check, node, inputs), node.attrs["axis"]
    return x.with_width(1) if axis is None else x.without(axis)


def moved(check: Checker, node: Node, x: Type, old: Axis, new: Axis) -> Type:
    """The type of x with one axis in another's place."""
    check.along(node, x, old)
    check.require(node, not x.has(new), f"{x} has `{new}` already")
    return Type(tuple(new if a == old else a for a in x.axes), x.width)


def line(axis: Axis | None) -> tuple[Axis, ...]:
    """An axis after its parents; nothing for none."""
    return () if axis is None else (*line(axis.parent), axis)
