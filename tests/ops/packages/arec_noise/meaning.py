"""What `noise` computes."""

import torch

from specc.interpret.meaning import Inputs, means
from specc.interpret.values import Setting, Value
from specc.ir.graph import Node


@means("noise")
def noise(node: Node, inputs: Inputs, s: Setting) -> Value:
    (x,) = inputs
    return s.value(node.type, lambda place: x[place] + torch.rand_like(x[place]))
