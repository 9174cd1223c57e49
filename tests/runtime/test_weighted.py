"""Weighted sums: those of the kernel in C are torch's, in value and gradient."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from specc_runtime.layout import Axis, Layout
from specc_runtime.ops import weighted_sum

T = Axis("h.t", bound=7)


def summed(
    lengths: Sequence[int], between: Sequence[int], width: int, dtype: torch.dtype, own: bool
) -> list[Tensor | None]:
    """A sum over positions and its gradients. own: whether each position has a row of its own of what is
    summed, or all of an example the same one."""
    layout = Layout(len(lengths), {"h.t": torch.tensor(lengths, dtype=torch.int64)}, None)
    rows, examples = layout[T], layout[()]
    torch.manual_seed(0)
    weight = torch.randn(rows.count, *between, 1, dtype=dtype, requires_grad=True)
    x = torch.randn((rows if own else examples).count, *between, width, dtype=dtype, requires_grad=True)
    total = weighted_sum(weight, x, rows, T, rows if own else examples)
    total.backward(torch.randn_like(total))
    return [total.detach(), weight.grad, x.grad]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("lengths", "between", "width"),
    [((4, 0, 3), (), 5), ((4, 0, 3), (2, 3), 33), ((1,), (), 1), ((0, 0), (), 4), ((), (2,), 4)],
)
def test_in_c_they_are_torchs(
    monkeypatch: pytest.MonkeyPatch,
    lengths: tuple[int, ...],
    between: tuple[int, ...],
    width: int,
    own: bool,
    dtype: torch.dtype,
) -> None:
    found = []
    for switch in ("1", "0"):
        monkeypatch.setenv("AREC_NATIVE", switch)
        found.append(summed(lengths, between, width, dtype, own))
    torch.testing.assert_close(*found)


def test_only_what_is_asked_for_has_a_gradient() -> None:
    layout = Layout(2, {"h.t": torch.tensor([2, 1])}, None)
    for of_weight in (True, False):
        weight = torch.ones(3, 1, requires_grad=of_weight)
        x = torch.arange(6.0).reshape(3, 2).requires_grad_(not of_weight)
        weighted_sum(weight, x, layout[T], T).sum().backward()
        assert (weight.grad is None) != of_weight
        assert weight.grad is None or weight.grad.tolist() == [[1.0], [5.0], [9.0]]
        assert (x.grad is None) == of_weight
