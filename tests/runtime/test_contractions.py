"""Sums of products as products of matrices: their values, and that no product of the whole is made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from specc.driver import compiled
from specc.report import Report
from specc.testing import random_batch
from specc_runtime import from_texts
from specc_runtime.layout import Axis, Layout
from specc_runtime.ops import contract, contract_rows, dot, segment

SHAPES = [
    ((5, 3, 1, 4), (1, 3, 6, 4)),
    ((5, 1, 4), (1, 7, 4)),
    ((1, 7, 4), (5, 1, 4)),
    ((5, 2, 1, 4), (5, 1, 3, 4)),
    ((5, 4), (1, 4)),
    ((0, 1, 4), (1, 7, 4)),
    ((5, 3, 2, 4), (5, 3, 2, 4)),
]


def two(of: tuple[int, ...], to: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    a, b = (torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in (of, to))
    return a, b


@pytest.mark.parametrize(("of", "to"), SHAPES)
def test_a_dot_is_the_sum_of_the_products(of: tuple[int, ...], to: tuple[int, ...]) -> None:
    a, b = two(of, to)
    found, expected = dot(a, b), (a * b).sum(-1, keepdim=True)
    assert torch.allclose(found, expected)
    upstream = torch.randn_like(expected)
    mine, theirs = (torch.autograd.grad(y, (a, b), upstream) for y in (found, expected))
    assert all(torch.allclose(x, y) for x, y in zip(mine, theirs, strict=True))


@pytest.mark.parametrize(("of", "to"), SHAPES[:4])
@pytest.mark.parametrize("channels", [False, True])
def test_a_contraction_sums_over_dimensions(of: tuple[int, ...], to: tuple[int, ...], channels: bool) -> None:
    a, b = two(of, to)
    expected = (a * b).sum(1)
    expected = expected.sum(-1, keepdim=True) if channels else expected
    assert torch.allclose(contract(a, b, 1, channels=channels), expected)


@pytest.mark.parametrize("lengths", [[3, 0, 7, 3, 1], [4], [0], [2, 2, 2], []])
@pytest.mark.parametrize("channels", [False, True])
def test_a_contraction_along_a_sequence(lengths: list[int], channels: bool) -> None:
    axis = Axis("history.t", 9)
    rows = Layout(len(lengths), {axis.id: torch.tensor(lengths, dtype=torch.int64)}, None)[axis]
    a, b = two((rows.count, 3, 2, 1, 4), (rows.count, 3, 1, 5, 4))
    whole = (a * b).sum(1)
    whole = whole.sum(-1, keepdim=True) if channels else whole
    expected = segment.sum(whole, rows, axis)
    found = contract_rows(a, b, rows, axis, 1, channels=channels)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    mine, theirs = (torch.autograd.grad(y, (a, b), upstream) for y in (found, expected))
    torch.testing.assert_close(mine, theirs)


class _Largest(TorchDispatchMode):
    """The most numbers that a tensor has which is made meanwhile."""

    most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for one in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(one, Tensor):
                self.most = max(self.most, one.numel())
        return found


CAPSULES = """\
model capsules
space user from request { id: ids(50, 8) }
space history[t <= 40] from request { item: ids(50, 32), place: ids(50, 32) }
picked = softmax(history.place, over t) |> split(32, as capsule)
read   = sum(picked * history.item, over t)
chain  = sum(sum(picked * (sigmoid(history.item) * (history.place |> linear(1))), over t) * tanh(read))
predict click: binary = concat(join(tanh(read), over capsule), join(chain, over capsule), user) |> linear(1)
"""


def test_a_product_along_a_sequence_is_not_made() -> None:
    """Of 40 positions with 32 numbers each, 32 by 32 sums and nothing larger: as written there are 1,024
    numbers at every position."""
    report = Report()
    found = compiled(CAPSULES, "default", None, {}, report)
    assert found is not None, list(report)
    model = from_texts(found.texts)
    batch = random_batch(model.manifest, 16, seed=1, full=True)
    with _Largest() as seen:
        model.loss(batch).backward()
    assert seen.most == 16 * max(40 * 32, 32 * 32)


def test_no_product_of_the_whole_is_made() -> None:
    a, b = torch.randn(32, 10, 1, 16, requires_grad=True), torch.randn(1, 10, 16, 16, requires_grad=True)
    with _Largest() as seen:
        dot(a, b).sum().backward()
    assert seen.most == 32 * 10 * 16
