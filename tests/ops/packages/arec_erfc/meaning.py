"""What `erfc` computes."""

import torch

from specc.interpret.meaning import Inputs, means
from specc.interpret.values import Setting, Value
from specc.ir.graph import Node


@means("erfc")
def erfc(node: Node, inputs: Inputs, s: Setting) -> Value:
    (x,) = inputs
    return s.value(node.type, lambda place: torch.erfc(x[place]))
