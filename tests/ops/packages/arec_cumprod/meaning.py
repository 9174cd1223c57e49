"""What `cumprod` computes."""

import torch
from torch import Tensor

from specc.interpret.meaning import Inputs, means
from specc.interpret.values import Place, Setting, Value
from specc.ir.graph import Node


@means("cumprod")
def cumprod(node: Node, inputs: Inputs, s: Setting) -> Value:
    (x,), axis = inputs, node.attrs["axis"]

    def total(place: Place) -> Tensor:
        return torch.stack([x[{**place, axis: p}] for p in range(place[axis] + 1)]).prod(0)

    return s.value(node.type, total)
