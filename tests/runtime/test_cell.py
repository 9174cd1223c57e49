"""A step with its derivative, walked: the values and gradients of the plain loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specc_runtime.layout import Axis, Layout
from specc_runtime.ops.cell import Cell, Perhaps, Projected, Tensors, recur
from specc_runtime.ops.recurrent import scan

T = Axis("h.t", bound=7)


def gated(x: Tensor, gain: Tensor, w: Tensor, h: Tensor) -> Tensor:
    """h' = h + gain * tanh(x + h W^T)."""
    return h + gain * torch.tanh(x + h @ w.t())


def step(
    values: Tensors, constants: Tensors, matrices: Tensors, biases: Tensors, states: Tensors, nexts: Tensors
) -> Tensors:
    fresh = values[0].addmm_(states[0], matrices[0].t()).tanh_()
    torch.addcmul(states[0], constants[0], fresh, out=nexts[0])
    return (fresh,)


def back(
    values: Tensors,
    constants: Tensors,
    matrices: Tensors,
    states: Tensors,
    kept: Tensors,
    d_next: Tensors,
    d_values: Perhaps,
    d_products: Tensors,
) -> tuple[Perhaps, Perhaps, Tensors]:
    (fresh,), (d,), (d_gate,) = kept, d_next, d_values
    assert d_gate is not None
    torch.mul(d * constants[0], 1 - fresh * fresh, out=d_gate)
    d_gain = (d * fresh).sum(-1, keepdim=True)
    return (d_gain,), (d + d_gate @ matrices[0],), (states[0],)


# The product's derivative is that of the value it is added to.
CELL = Cell(step, back, places=((0, 0, 4),))


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
    (found,) = recur(CELL, rows, T, [x], [gain], [w], [], [start], backward)
    assert torch.allclose(found, expected, atol=1e-12)
    if rows.count:
        seed = torch.randn_like(expected)
        for mine, theirs in zip(
            torch.autograd.grad(found, given, seed), torch.autograd.grad(expected, given, seed), strict=True
        ):
            assert torch.allclose(mine, theirs, atol=1e-12)


def test_a_product_is_put_in_order_before_it_is_multiplied() -> None:
    layout = Layout(3, {"h.t": torch.tensor([2, 5, 0])}, None)
    rows = layout[T]
    torch.manual_seed(0)
    sizes = [(rows.count, 3), (4, 3), (4,), (3, 1), (4, 4), (3, 4)]
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in sizes]
    x, matrix, bias, gain, w, start = given
    whole = torch.nn.functional.linear(x, matrix, bias)
    (expected,) = recur(CELL, rows, T, [whole], [gain], [w], [], [start])
    seed = torch.randn_like(expected)
    for projected in (Projected(x, matrix, bias), Projected(x, matrix, bias, rows, rows)):
        (found,) = recur(CELL, rows, T, [projected], [gain], [w], [], [start])
        assert torch.allclose(found, expected, atol=1e-12)
        for mine, theirs in zip(
            torch.autograd.grad(found, given, seed),
            torch.autograd.grad(expected, given, seed, retain_graph=True),
            strict=True,
        ):
            assert torch.allclose(mine, theirs, atol=1e-12)


def test_a_graph_may_be_gone_through_twice() -> None:
    layout = Layout(2, {"h.t": torch.tensor([2, 5])}, None)
    rows = layout[T]
    torch.manual_seed(0)
    sizes = [(rows.count, 4), (2, 1), (4, 4), (2, 4)]
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in sizes]
    (found,) = recur(CELL, rows, T, [given[0]], [given[1]], [given[2]], [], [given[3]])
    first = torch.autograd.grad(found.sum(), given, retain_graph=True)
    second = torch.autograd.grad(found.sum(), given)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
