"""What steps of recurrences call of torch's activations: in place, and their derivatives into a place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# As a tensor, so that one operation multiplies and adds.
_MINUS_ONE = torch.tensor(-1.0)


def tanh_(x: Tensor) -> Tensor:
    """tanh(x) = 2 sigmoid(2 x) - 1 in place of x.

    On the CPU that takes half as long as torch's, whose error is below 4e-8 in single precision; here it is
    below 2e-7, as that of a product before it.
    """
    if x.device.type != "cpu":
        return x.tanh_()
    return torch.add(_MINUS_ONE, x.mul_(2).sigmoid_(), alpha=2, out=x)


def sigmoid_back(d: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """The derivative of x from that of y = sigmoid(x); into a place, if one is given, which may be d's."""
    return _back(torch.ops.aten.sigmoid_backward, out, d, y)


def tanh_back(d: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """The derivative of x from that of y = tanh(x), as above."""
    return _back(torch.ops.aten.tanh_backward, out, d, y)


def relu_back(d: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """The derivative of x from that of y = relu(x), as above."""
    return _back(torch.ops.aten.threshold_backward, out, d, y, 0)


def silu_back(d: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """The derivative of x from that of y = silu(x), as above."""
    return _back(torch.ops.aten.silu_backward, out, d, x)


def _back(kernel: Any, out: Tensor | None, *given: Any) -> Tensor:
    found: Tensor = kernel(*given) if out is None else kernel.grad_input(*given, grad_input=out)
    return found
