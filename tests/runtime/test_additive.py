"""Scores of sums of two values: those of the kernel in C are torch's, in value and gradient."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from specc_runtime.layout import Axis, Layout
from specc_runtime.native.additive import ACTIVATIONS
from specc_runtime.ops import additive_score

T = Axis("h.t", bound=7)


def scored(
    activation: str, lengths: Sequence[int], width: int, bias: bool, turned: bool
) -> list[Tensor | None]:
    """Scores of some examples' positions, and all gradients. turned: the example's value is the first."""
    layout = Layout(len(lengths), {"h.t": torch.tensor(lengths, dtype=torch.int64)}, None)
    rows, examples = layout[T], layout[()]
    torch.manual_seed(0)
    layer = nn.Linear(width, 1, bias=bias, dtype=torch.float64)
    key = torch.randn(rows.count, width, dtype=torch.float64, requires_grad=True)
    query = torch.randn(examples.count, width, dtype=torch.float64, requires_grad=True)
    both = [(key, rows), (query, examples)]
    (a, of_a), (b, of_b) = both[::-1] if turned else both
    score = additive_score(layer, activation, a, of_a, b, of_b, rows)
    score.backward(torch.randn_like(score))
    return [score.detach(), key.grad, query.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("lengths", "width", "bias"), [((4, 0, 3), 33, True), ((1,), 1, False), ((0, 0), 4, True), ((), 8, True)]
)
def test_in_c_they_are_torchs(
    monkeypatch: pytest.MonkeyPatch, activation: str, lengths: tuple[int, ...], width: int, bias: bool
) -> None:
    for turned in (False, True):
        found = []
        for switch in ("1", "0"):
            monkeypatch.setenv("AREC_NATIVE", switch)
            found.append(scored(activation, lengths, width, bias, turned))
        torch.testing.assert_close(*found)
