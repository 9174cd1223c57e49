"""Operations that read the whole batch: the values of all examples side by side, and which one is the row's
own.

They have a static axis of the size that the recipe gives the batch; at run time a batch may have another
size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.definition import Derivative, Effect, OpDef, Origin, Traits, slots
from specc.ops.rules import Inputs
from specc.types.axis import Axis, Type, union
from specc.types.kinds import derived

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def batch_axis(size: int) -> Axis:
    """Return the axis along which a batch's examples stand, each a request with a candidate."""
    return Axis(("batch", "examples"), "batch", size, size)


def batch_rows(size: int) -> Axis:
    """Return the same as a ragged axis, of what each example has along axes of its own."""
    return Axis(("batch", "rows", size), "batch", size)


def across_axis(axis: Axis, parent: Axis) -> Axis:
    """Return a space's own axis as it is in each example of the batch. parent: the axis it is then inside of:
    the batch's, or what its own parent is there."""
    return derived("across", axis.name, axis, parent=parent)


def _across(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    check.require(node, axis.kind == "batch" and not x.has(axis), f"`{axis}` is not of the batch")
    check.require(node, all(not a.ragged for a in x.axes), f"{x} has a ragged axis")
    return Type(union(x, Type((axis,), 1)), x.width)


def _of_batch(check: Checker, node: Node, inputs: Inputs) -> Type:
    return Type((node.attrs["axis"],), 1)


def _across_each(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    there = dict(zip(node.attrs["old"], node.attrs["new"], strict=True))
    check.require(node, axis.kind == "batch" and axis.ragged, f"`{axis}` is not of the rows of a batch")
    check.require(node, {a for a in x.axes if a.ragged} == {*there}, f"{x} has other ragged axes")
    check.require(node, all(axis in a.chain for a in there.values()), "an axis is not of each example")
    return Type(union(Type((axis,), 1), Type(tuple(there.get(a, a) for a in x.axes), 1)), x.width)


def _moved(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,), old, axis = inputs, node.attrs["old"], node.attrs["axis"]
    check.require(node, x.has(old) and not x.has(axis), f"{x} does not have `{old}` alone")
    check.childless(node, x, old)
    return Type(union(Type((axis,), 1), x.without(old)), x.width)


_COUPLES = Traits(effect=Effect.STATISTICS)
_COMPARED = "it compares the examples of a training batch"
DEFINITIONS = (
    OpDef(
        op.ACROSS, "batch", "The values of all examples of the batch, along its axis.", slots("x"), _across,
        attrs={"axis": Axis}, traits=_COUPLES, noun="all", unportable=_COMPARED,
    ),
    OpDef(
        op.OWN, "batch", "1 where the position along the batch is the example itself, else 0.", (), _of_batch,
        attrs={"axis": Axis}, traits=Traits(effect=Effect.STATISTICS, source=Origin.DATA, condition=True),
        noun="own", unportable=_COMPARED,
    ),
    OpDef(
        op.ACROSS_EACH, "batch", "The values of all examples of the batch, with the positions that each has.",
        slots("x"), _across_each, attrs={"axis": Axis, "old": tuple, "new": tuple}, traits=_COUPLES,
        noun="each", unportable=_COMPARED,
    ),
    OpDef(
        op.TO_ROWS, "batch", "What is along the batch's axis, a row each.", slots("x"), _moved,
        attrs={"axis": Axis, "old": Axis}, traits=Traits(effect=Effect.PURE), noun="each",
        derivative=Derivative(), unportable=_COMPARED,
    ),
    OpDef(
        op.FROM_ROWS, "batch", "Rows of each example along the batch's axis.", slots("x"), _moved,
        attrs={"axis": Axis, "old": Axis}, traits=Traits(effect=Effect.PURE), noun="all",
        derivative=Derivative(), unportable=_COMPARED,
    ),
)  # fmt: skip
