"""What sees the whole batch: the values of all examples, each at its own position along the batch's axis."""

from __future__ import annotations

from torch import Tensor

from specc.interpret.meaning import Inputs, means, means_across
from specc.interpret.values import Setting, Value
from specc.ir.graph import Node
from specc.ops import op

NO_KEY = -(2**63)


@means_across(op.ACROSS)
def _across(node: Node, inputs: list[Inputs], settings: list[Setting]) -> list[Value]:
    """At each position of the batch the value that its example has."""
    axis = node.attrs["axis"]
    return [s.value(node.type, lambda place: inputs[place[axis]][0][place]) for s in settings]


@means(op.OWN)
def _own(node: Node, inputs: Inputs, s: Setting) -> Value:
    axis = node.attrs["axis"]
    return s.value(node.type, lambda place: s.number(place[axis] == s.number_of))


@means_across(op.ALIKE)
def _alike(node: Node, inputs: list[Inputs], settings: list[Setting]) -> list[Value]:
    """1 where the other example's key is the same, and there is one."""
    axis, field = node.attrs["axis"], node.attrs["field"]
    keys = [_key(s, field) for s in settings]

    def same(s: Setting, other: int) -> Tensor:
        own = keys[s.number_of]
        return s.number(own == keys[other] and own != NO_KEY)

    return [s.value(node.type, lambda place, s=s: same(s, place[axis])) for s in settings]  # type: ignore[misc]


def _key(s: Setting, field: str) -> int:
    held = s.example.fields[field][()]
    assert isinstance(held, Tensor)
    return int(held)
