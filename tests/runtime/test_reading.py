"""Values read by position: what a convolution keeps, and what is outside of an axis."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime.layout import Axis, Layout
from specc_runtime.ops import at, convolve

T = Axis("t", 9)
SHIFTS = (-2, -1, 0)


def a_layout(*lengths: int) -> Layout:
    return Layout(len(lengths), {"t": torch.tensor(lengths)}, None)


def test_a_convolution_is_torch_s_of_each_sequence_alone() -> None:
    rows = a_layout(4, 0, 1, 9)[T]
    x = torch.randn(14, 3, dtype=torch.double, requires_grad=True)
    matrix = torch.randn(5, 9, dtype=torch.double, requires_grad=True)
    bias = torch.randn(5, dtype=torch.double)
    found = convolve(x, matrix, bias, rows, T, SHIFTS)
    kernel = matrix.unflatten(1, (3, 3)).transpose(1, 2)
    whole = [F.pad(one.t(), (2, 0)) for one in x.split([4, 0, 1, 9]) if len(one)]
    expected = torch.cat([F.conv1d(one, kernel, bias).t() for one in whole])
    assert torch.allclose(found, expected, atol=1e-12)
    upstream = torch.randn_like(found)
    mine, theirs = (torch.autograd.grad(y, (x, matrix), upstream) for y in (found, expected))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(mine, theirs, strict=True))


def test_a_convolution_keeps_what_it_reads_and_no_copies_of_it() -> None:
    rows = a_layout(*[9] * 100)[T]
    x = torch.randn(900, 32, requires_grad=True)
    matrix = torch.randn(8, 96, requires_grad=True)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        convolve(x, matrix, None, rows, T, SHIFTS)
    real = [t for t in kept if t.is_floating_point()]
    assert {t.data_ptr() for t in real} == {x.data_ptr(), matrix.data_ptr()}


def test_a_position_that_is_no_number_or_beyond_all_integers_is_outside() -> None:
    x = torch.arange(3.0).view(1, 3, 1) + 1
    positions = torch.tensor([[0.0], [2.9], [3.0], [-0.1], [torch.nan], [torch.inf], [1e30]])
    assert at(x, positions).flatten().tolist() == [1, 3, 0, 0, 0, 0, 0]
