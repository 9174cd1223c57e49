"""What sees the whole batch: the values of all examples, each at its own position along the batch's axis."""

from __future__ import annotations

from specc.interpret.meaning import Inputs, means, means_across
from specc.interpret.values import Setting, Value
from specc.ir.graph import Node
from specc.ops import op


@means_across(op.ACROSS)
def _across(node: Node, inputs: list[Inputs], settings: list[Setting]) -> list[Value]:
    """At each position of the batch the value that its example has."""
    axis = node.attrs["axis"]
    return [s.value(node.type, lambda place: inputs[place[axis]][0][place]) for s in settings]


@means(op.OWN)
def _own(node: Node, inputs: Inputs, s: Setting) -> Value:
    axis = node.attrs["axis"]
    return s.value(node.type, lambda place: s.number(place[axis] == s.number_of))
