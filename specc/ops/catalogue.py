"""Classes that are the rows of a table: a next item over a catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.definition import Attrs, Derivative, Effect, OpDef, Traits, slots
from specc.ops.rules import Inputs
from specc.types.axis import Type

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def _row_loss(check: Checker, node: Node, inputs: Inputs) -> Type:
    table, counts, *bias = (check.weights[path] for path in node.weights)
    check.require(node, inputs[0] == Type((), table.shape[1]), f"{inputs[0]} has not the table's width")
    check.require(node, inputs[1] == Type((), 1), "a label is one number")
    check.require(node, counts.shape == table.shape[:1], "it counts other rows")
    check.require(node, not bias or bias[0].shape == table.shape[:1], "a bias is one a row")
    return Type((), 1)


def _draws(attrs: Attrs) -> Effect:
    return Effect.RANDOM if attrs["sampled"] else Effect.PURE


# first: the row of the first class. sampled: how many rows are drawn in training; 0 for all of them.
DEFINITIONS = (
    OpDef(
        op.ROW_LOSS, "batch",
        "Negative log softmax of a vector's products with the rows of a table, at the label's row.",
        slots("x label"), _row_loss, attrs={"first": int, "sampled": int},
        weights=slots("table counts bias?"), traits=Traits(effect=_draws), derivative=Derivative(inputs=True),
        noun="of_rows", unportable="it is the loss of a label",
    ),
)  # fmt: skip
