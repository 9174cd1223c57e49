"""A step with its derivative, walked: the values and gradients of the plain loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specc_runtime.layout import Axis, Layout
from specc_runtime.ops.cell import Cell, Tensors, recur
from specc_runtime.ops.recurrent import scan

T = Axis("h.t", bound=7)


def gated(x: Tensor, gain: Tensor, w: Tensor, h: Tensor) -> Tensor:
    """h' = h + gain * tanh(x + h W^T)."""
    return h + gain * torch.tanh(x + h @ w.t())


def step(
    values: Tensors, constants: Tensors, matrices: Tensors, biases: Tensors, states: Tensors
) -> tuple[Tensors, Tensors]:
    fresh = torch.tanh(torch.addmm(values[0], states[0], matrices[0].t()))
    return (states[0] + constants[0] * fresh,), (fresh,)


def back(
    values: Tensors, constants: Tensors, matrices: Tensors, states: Tensors, kept: Tensors, d_next: Tensors
) -> tuple[Tensors, Tensors, Tensors, tuple[tuple[Tensor, Tensor], ...]]:
    (fresh,), (d,) = kept, d_next
    d_gate = d * constants[0] * (1 - fresh * fresh)
    d_gain = (d * fresh).sum(-1, keepdim=True)
    return (d_gate,), (d_gain,), (d + d_gate @ matrices[0],), ((states[0], d_gate),)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("lengths", [[3, 0, 7, 1, 1], [0, 0], [2]])
def test_walking_is_the_plain_loop(lengths: list[int], backward: bool) -> None:
    layout = Layout(len(lengths), {"h.t": torch.tensor(lengths)}, None)
    rows = layout[T]
    torch.manual_seed(0)
    sizes = [(rows.count, 4), (len(lengths), 1), (4, 4), (len(lengths), 4)]
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in sizes]
    x, gain, w, start = given

    def plain(x: Tensor, gain: Tensor, h: Tensor) -> Tensors:
        return (gated(x, gain, w, h),)

    (expected,) = scan(plain, rows, T, [x], [gain], [start], backward)
    (found,) = recur(Cell(step, back), rows, T, [x], [gain], [w], [], [start], backward)
    assert torch.allclose(found, expected, atol=1e-12)
    if rows.count:
        seed = torch.randn_like(expected)
        for mine, theirs in zip(
            torch.autograd.grad(found, given, seed), torch.autograd.grad(expected, given, seed), strict=True
        ):
            assert torch.allclose(mine, theirs, atol=1e-12)
