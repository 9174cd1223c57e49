"""Operations that read the whole batch: the values of all examples side by side, and which one is the row's
own.

They have a static axis of the size that the recipe gives the batch; at run time a batch may have another
size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.definition import Effect, OpDef, Origin, Traits, slots
from specc.ops.rules import Inputs
from specc.types.axis import Axis, Type, union

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def batch_axis(size: int) -> Axis:
    """Return the axis along which a batch's examples stand, each a request with a candidate."""
    return Axis(("batch", "examples"), "batch", size, size)


def _across(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    check.require(node, axis.kind == "batch" and not x.has(axis), f"`{axis}` is not of the batch")
    check.require(node, all(not a.ragged for a in x.axes), f"{x} has a ragged axis")
    return Type(union(x, Type((axis,), 1)), x.width)


def _of_batch(check: Checker, node: Node, inputs: Inputs) -> Type:
    return Type((node.attrs["axis"],), 1)


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
)  # fmt: skip
