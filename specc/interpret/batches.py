"""What sees the whole batch: the values of all examples, each at its own position along the batch's axis."""

from __future__ import annotations

from torch import Tensor

from specc.interpret.meaning import Inputs, means, means_across
from specc.interpret.values import Place, Setting, Value
from specc.ir.graph import Node
from specc.ops import op


@means_across(op.ACROSS)
def _across(node: Node, inputs: list[Inputs], settings: list[Setting]) -> list[Value]:
    """At each position of the batch the value that its example has."""
    axis = node.attrs["axis"]
    return [s.value(node.type, lambda place: inputs[place[axis]][0][place]) for s in settings]


@means_across(op.ACROSS_EACH)
def _across_each(node: Node, inputs: list[Inputs], settings: list[Setting]) -> list[Value]:
    """At each position of the batch, and each that its example has, the value there."""
    axis, old, new = node.attrs["axis"], node.attrs["old"], node.attrs["new"]
    pairs = list(zip(old, new, strict=True))

    def there(place: Place) -> Tensor:
        return inputs[place[axis]][0][{**place, **{a: place[b] for a, b in pairs}}]

    return [s.value(node.type, there) for s in settings]


@means(op.TO_ROWS, op.FROM_ROWS)
def _moved(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The same values at the same positions."""
    old, axis = node.attrs["old"], node.attrs["axis"]
    return s.value(node.type, lambda place: inputs[0][{**place, old: place[axis]}])


@means(op.OWN)
def _own(node: Node, inputs: Inputs, s: Setting) -> Value:
    axis = node.attrs["axis"]
    return s.value(node.type, lambda place: s.number(place[axis] == s.number_of))
