"""What `erf` computes."""

import torch

from specc.interpret.meaning import Inputs, means
from specc.interpret.values import Setting, Value
from specc.ir.graph import Node


@means("erf")
def erf(node: Node, inputs: Inputs, s: Setting) -> Value:
    (x,) = inputs
    return s.value(node.type, lambda place: torch.erf(x[place]))
