"""What is computed at each place from the inputs' channels at that place: arithmetic, widths, losses.

An input that lacks an axis is the same along it, and one of width 1 the same for every channel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from specc.interpret.meaning import Inputs, means
from specc.interpret.values import Setting, Value
from specc.ir.graph import Node


def _at_each_place(op: str, channels: Callable[..., Tensor]) -> None:
    """Enter an op by what it makes of its inputs' channels (and the node, for its attributes)."""

    @means(op)
    def meaning(node: Node, inputs: Inputs, s: Setting) -> Value:
        return s.value(node.type, lambda place: channels(node, *(x[place] for x in inputs)))


def _truth(holds: Tensor, like: Tensor) -> Tensor:
    """1 where it holds, else 0."""
    return holds.to(like.dtype)


def _bce(logit: Tensor, target: Tensor) -> Tensor:
    """-target log sigmoid(logit) - (1 - target) log(1 - sigmoid(logit))."""
    return -target * F.logsigmoid(logit) - (1 - target) * F.logsigmoid(-logit)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log softmax(logits) at the class, an index."""
    return -torch.log_softmax(logits, 0)[target.detach().long()]


_MEANINGS: dict[str, Callable[..., Tensor]] = {
    "add": lambda _, a, b: a + b,
    "sub": lambda _, a, b: a - b,
    "mul": lambda _, a, b: a * b,
    "div": lambda _, a, b: a / b,
    "pow": lambda _, a, b: a**b,
    "lt": lambda _, a, b: _truth(a < b, a),
    "le": lambda _, a, b: _truth(a <= b, a),
    "gt": lambda _, a, b: _truth(a > b, a),
    "ge": lambda _, a, b: _truth(a >= b, a),
    "eq": lambda _, a, b: _truth(a == b, a),
    "ne": lambda _, a, b: _truth(a != b, a),
    "and": lambda _, a, b: _truth((a != 0) & (b != 0), a),
    "or": lambda _, a, b: _truth((a != 0) | (b != 0), a),
    "not": lambda _, x: _truth(x == 0, x),
    "neg": lambda _, x: -x,
    "exp": lambda _, x: torch.exp(x),
    "log": lambda _, x: torch.log(x),
    # The gradient at 0 is infinite, as the derivative is.
    "sqrt": lambda _, x: torch.sqrt(x),
    # The gradient at 0 is 0; so it is for relu, and slope for leaky_relu.
    "abs": lambda _, x: torch.abs(x),
    "tanh": lambda _, x: torch.tanh(x),
    "sigmoid": lambda _, x: torch.sigmoid(x),
    "relu": lambda _, x: torch.relu(x),
    "silu": lambda _, x: x * torch.sigmoid(x),
    "gelu": lambda _, x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "leaky_relu": lambda node, x: torch.where(x > 0, x, node.attrs["slope"] * x),
    "stop_gradient": lambda _, x: x.detach(),
    "concat": lambda _, *parts: torch.cat(parts),
    "slice": lambda node, x: x[node.attrs["start"] : node.attrs["stop"]],
    "dot": lambda _, a, b: (a * b).sum(0, keepdim=True),
    "bce": lambda _, a, b: _bce(a, b),
    "mse": lambda _, a, b: ((a - b) ** 2).mean(0, keepdim=True),
    "cross_entropy": lambda _, a, b: _cross_entropy(a, b),
    # Where a value is does not change what it is.
    "transfer": lambda _, x: x,
}
for _op, _channels in _MEANINGS.items():
    _at_each_place(_op, _channels)
