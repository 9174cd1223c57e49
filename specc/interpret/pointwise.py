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
from specc.ops import op


def _at_each_place(name: str, channels: Callable[..., Tensor]) -> None:
    """Enter an op by what it makes of its inputs' channels (and the node, for its attributes)."""

    @means(name)
    def meaning(node: Node, inputs: Inputs, s: Setting) -> Value:
        return s.value(node.type, lambda place: channels(node, *(x[place] for x in inputs)))


def _truth(holds: Tensor, like: Tensor) -> Tensor:
    """Return 1 where it holds, else 0."""
    return holds.to(like.dtype)


def _bce(logit: Tensor, target: Tensor) -> Tensor:
    """Return -target log sigmoid(logit) - (1 - target) log(1 - sigmoid(logit))."""
    return -target * F.logsigmoid(logit) - (1 - target) * F.logsigmoid(-logit)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return -log softmax(logits) at the class, an index."""
    return -torch.log_softmax(logits, 0)[target.detach().long()]


_MEANINGS: dict[str, Callable[..., Tensor]] = {
    op.ADD: lambda _, a, b: a + b,
    op.SUB: lambda _, a, b: a - b,
    op.MUL: lambda _, a, b: a * b,
    op.DIV: lambda _, a, b: a / b,
    op.POW: lambda _, a, b: a**b,
    op.LT: lambda _, a, b: _truth(a < b, a),
    op.LE: lambda _, a, b: _truth(a <= b, a),
    op.GT: lambda _, a, b: _truth(a > b, a),
    op.GE: lambda _, a, b: _truth(a >= b, a),
    op.EQ: lambda _, a, b: _truth(a == b, a),
    op.NE: lambda _, a, b: _truth(a != b, a),
    op.AND: lambda _, a, b: _truth((a != 0) & (b != 0), a),
    op.OR: lambda _, a, b: _truth((a != 0) | (b != 0), a),
    op.NOT: lambda _, x: _truth(x == 0, x),
    op.NEG: lambda _, x: -x,
    op.EXP: lambda _, x: torch.exp(x),
    op.LOG: lambda _, x: torch.log(x),
    # The gradient at 0 is infinite, as the derivative is.
    op.SQRT: lambda _, x: torch.sqrt(x),
    # The gradient at 0 is 0; so it is for relu, and slope for leaky_relu.
    op.ABS: lambda _, x: torch.abs(x),
    op.TANH: lambda _, x: torch.tanh(x),
    op.SIGMOID: lambda _, x: torch.sigmoid(x),
    op.RELU: lambda _, x: torch.relu(x),
    op.SILU: lambda _, x: x * torch.sigmoid(x),
    op.GELU: lambda _, x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    op.LEAKY_RELU: lambda node, x: torch.where(x > 0, x, node.attrs["slope"] * x),
    op.SIN: lambda _, x: torch.sin(x),
    op.COS: lambda _, x: torch.cos(x),
    op.ATAN2: lambda _, a, b: torch.atan2(*torch.broadcast_tensors(a, b)),
    op.ERF: lambda _, x: torch.erf(x),
    op.SIGN: lambda _, x: torch.sign(x).detach(),
    op.FLOOR: lambda _, x: torch.floor(x).detach(),
    op.SOFTPLUS: lambda _, x: torch.logaddexp(x, torch.zeros_like(x)),
    op.LOG_SIGMOID: lambda _, x: -torch.logaddexp(-x, torch.zeros_like(x)),
    op.CLAMP: lambda node, x: torch.clamp(x, node.attrs["low"], node.attrs["high"]),
    # Of equals each has half of the gradient.
    op.MAXIMUM: lambda _, a, b: torch.maximum(*torch.broadcast_tensors(a, b)),
    op.MINIMUM: lambda _, a, b: torch.minimum(*torch.broadcast_tensors(a, b)),
    op.MOD: lambda _, a, b: a - b * torch.floor(a / b).detach(),
    op.STOP_GRADIENT: lambda _, x: x.detach(),
    op.CONCAT: lambda _, *parts: torch.cat(parts),
    op.SLICE: lambda node, x: x[node.attrs["start"] : node.attrs["stop"]],
    op.DOT: lambda _, a, b: (a * b).sum(0, keepdim=True),
    op.BCE: lambda _, a, b: _bce(a, b),
    op.MSE: lambda _, a, b: ((a - b) ** 2).mean(0, keepdim=True),
    op.CROSS_ENTROPY: lambda _, a, b: _cross_entropy(a, b),
    # Where a value is does not change what it is.
    op.TRANSFER: lambda _, x: x,
}
for _name, _channels in _MEANINGS.items():
    _at_each_place(_name, _channels)
