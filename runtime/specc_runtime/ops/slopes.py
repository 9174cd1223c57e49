"""Activations in place, and their derivatives written into a given buffer, for the steps of recurrences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# A tensor, so that one torch operation does both the product and the sum.
_MINUS_ONE = torch.tensor(-1.0)


def tanh_(x: Tensor) -> Tensor:
    """Write tanh(x) = 2 sigmoid(2 x) - 1 over x, and return it.

    On the CPU this takes half as long as torch's tanh, whose error is below 4e-8 in single precision. Here
    it is below 2e-7, like that of the matrix product before it.
    """
    if x.device.type != "cpu":
        return x.tanh_()
    return torch.add(_MINUS_ONE, x.mul_(2).sigmoid_(), alpha=2, out=x)


def sigmoid_back(d: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the gradient of x from the gradient d of y = sigmoid(x), written into `out` if given, which may
    be d."""
    return _back(torch.ops.aten.sigmoid_backward, out, d, y)


def tanh_back(d: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the gradient of x for y = tanh(x), as `sigmoid_back` does."""
    return _back(torch.ops.aten.tanh_backward, out, d, y)


def relu_back(d: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the gradient of x for y = relu(x), as `sigmoid_back` does."""
    return _back(torch.ops.aten.threshold_backward, out, d, y, 0)


def silu_back(d: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the gradient of x for y = silu(x), as `sigmoid_back` does."""
    return _back(torch.ops.aten.silu_backward, out, d, x)


def _back(kernel: Any, out: Tensor | None, *given: Any) -> Tensor:
    found: Tensor = kernel(*given) if out is None else kernel.grad_input(*given, grad_input=out)
    return found
