"""Products in C, with what follows them: torch's values and gradients; and torch, where C does not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

import specc
from specc.lower import choices
from specc.testing import random_batch
from specc_runtime import layers
from specc_runtime.native import products
from specc_runtime.ops import add_product, linear

FOLLOWING: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "relu": torch.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
# Rows, channels and outputs: one, odd, whole vectors and one more, and more than is computed at a time.
SIZES = [
    (48, 8, 8),
    (0, 9, 8),
    (1, 1, 1),
    (5, 17, 3),
    (49, 16, 33),
    (97, 31, 16),
    (401, 300, 21),
    (390, 33, 270),
]


@pytest.fixture(autouse=True, params=[0, 2**20], ids=["together", "apart"])
def together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The derivative of what follows is part of the product's, or a step of its own."""
    monkeypatch.setattr(products, "TOGETHER", request.param)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was computed in C, as it is."""
    found: list[str] = []

    def telling(name: str) -> None:
        plain = getattr(products, name)
        monkeypatch.setattr(products, name, lambda *given: found.append(name) or plain(*given))

    telling("product")
    telling("added")
    return found


def leaves(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


def doubled(given: list[Tensor]) -> list[Tensor]:
    return [x.detach().double().requires_grad_(x.requires_grad) for x in given]


def compare(found: Tensor, given: list[Tensor], expected: Tensor, exact: list[Tensor]) -> None:
    """Values and gradients, by those in double precision."""
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)
    seed = torch.randn_like(expected)
    mine = torch.autograd.grad(found, [x for x in given if x.requires_grad], seed.float())
    theirs = torch.autograd.grad(expected, [x for x in exact if x.requires_grad], seed)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b.float(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("then", FOLLOWING)
@pytest.mark.parametrize("sizes", SIZES)
def test_they_are_torchs(sizes: tuple[int, int, int], then: str) -> None:
    n, k, m = sizes
    given = leaves((n, k), (m, k), (m,))
    found = products.product(*given, then, 0.2)
    assert found is not None
    exact = doubled(given)
    compare(found, given, FOLLOWING[then](F.linear(*exact)), exact)


@pytest.mark.parametrize("then", FOLLOWING)
@pytest.mark.parametrize("sizes", SIZES)
def test_added_to_something(sizes: tuple[int, int, int], then: str) -> None:
    n, k, m = sizes
    given = leaves((n, m), (n, k), (m, k))
    total = given[0] * 1
    found = products.added(total, given[1], given[2], then, 0.2)
    assert found is not None
    assert found.data_ptr() == total.data_ptr()
    exact = doubled(given)
    compare(found, given, FOLLOWING[then](exact[0] + F.linear(*exact[1:])), exact)


@pytest.mark.parametrize("learning", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1)])
@pytest.mark.parametrize("then", ["", "relu"])
def test_some_have_no_gradient(learning: tuple[int, ...], then: str, asked: list[str]) -> None:
    given = [
        x.requires_grad_(bool(own)) for x, own in zip(leaves((64, 12), (9, 12), (9,)), learning, strict=True)
    ]
    exact = doubled(given)
    compare(linear(*given, then, in_c_from=0), given, FOLLOWING[then](F.linear(*exact)), exact)
    total, x, matrix = given[0].new_zeros(64, 9), *given[:2]
    if any(learning[:2]):
        exact = doubled([x, matrix])
        summed = add_product(total, x, matrix, then, in_c_from=0)
        compare(summed, [x, matrix], FOLLOWING[then](F.linear(*exact)), exact)
        assert asked == ["product", "added"]


def test_of_parts_and_of_more_dimensions(asked: list[str]) -> None:
    """Columns of wider values, columns of a matrix, a turned matrix, an upstream gradient that repeats."""
    wide, weight, bias = leaves((60, 30), (20, 40), (20,))
    exact = doubled([wide, weight, bias])

    def of(x: Tensor, w: Tensor, b: Tensor, product: Any) -> list[Tensor]:
        apart = product(x.reshape(60, 3, 10), w[:, 3:13], b)
        return [product(x[:, 5:25], w[:, 7:27], b), product(x[:, :20], w.t()[5:25], b), apart]

    mine = of(wide, weight, bias, lambda *x: linear(*x, "relu", in_c_from=0))
    theirs = of(*exact, lambda *x: torch.relu(F.linear(*x)))
    assert asked == ["product"] * 3
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b.float())
    found = torch.autograd.grad(sum(x.sum() for x in mine), [wide, weight, bias])
    for a, b in zip(found, torch.autograd.grad(sum(x.sum() for x in theirs), exact), strict=True):
        torch.testing.assert_close(a, b.float(), rtol=1e-4, atol=1e-4)


def test_it_has_second_derivatives(asked: list[str]) -> None:
    for then, function in FOLLOWING.items():
        given = leaves((50, 8), (9, 8), (9,))
        exact = doubled(given)
        pairs = []
        for x, w, b, dtype in ((*given, torch.float32), (*exact, torch.float64)):
            y = linear(x, w, b, then, 0.2, 0) if dtype is torch.float32 else function(F.linear(x, w, b))
            (d,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)
            pairs.append(torch.autograd.grad(d.square().sum(), [x, w, b]))
        for a, b in zip(*pairs, strict=True):
            torch.testing.assert_close(a, b.float(), rtol=1e-3, atol=1e-2)
    assert len(asked) == len(FOLLOWING)


def test_what_is_no_number_stays_so() -> None:
    x, matrix, bias = leaves((64, 8), (8, 8), (8,))
    x = x.detach()
    x[3, 2] = torch.nan
    for then in FOLLOWING:
        found = linear(x, matrix, bias, then, 0.2, 0)
        assert found[3].isnan().all()
        assert found[:3].isfinite().all()
        assert found[4:].isfinite().all()


def by_layer(x: Tensor, least: int | None) -> Tensor:
    layer = layers.Linear(x.shape[-1], 8, init=("ones",)).to(x.dtype)
    return layer(x, "relu", in_c_from=least)


def test_where_it_is_in_c(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(64, 8)
    for given, least, in_c in (
        (x, None, False),
        (x, 64 * 64, True),
        (x, 64 * 64 + 1, False),
        (x.double(), 0, False),
        (x[:47], 0, False),
        (x.t().contiguous().t(), 0, False),
        (x.reshape(8, 8, 8), 0, True),
        (x.reshape(8, 8, 8)[:, :7], 0, False),
        (x[0], 0, False),
        (torch.randn(64, 7), 0, False),
        (torch.empty(0, 8), 0, False),
    ):
        asked.clear()
        by_layer(given, least)
        assert bool(asked) == in_c, (given.shape, least)
    asked.clear()
    monkeypatch.setenv("AREC_NATIVE", "0")
    by_layer(x, 0)
    monkeypatch.delenv("AREC_NATIVE")
    with torch.autocast("cpu", torch.bfloat16):
        by_layer(x, 0)
        add_product(torch.zeros(64, 8), x, torch.zeros(8, 8), in_c_from=0)
    torch.func.vmap(lambda part: linear(part, x[:8], in_c_from=0))(x.reshape(1, 64, 8))
    torch.func.grad(lambda part: linear(part, x[:8], in_c_from=0).sum())(x)
    with FakeTensorMode(allow_non_fake_inputs=True):
        linear(x, x[:8], in_c_from=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    by_layer(x, 0)
    torch.set_num_threads(threads)
    assert not asked


def test_without_a_compiler_torch_does_it(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "library", lambda dtype: None)
    x, matrix, total = leaves((64, 8), (8, 8), (64, 8))
    torch.testing.assert_close(linear(x, matrix, then="tanh", in_c_from=0), torch.tanh(x @ matrix.t()))
    found = add_product(total * 1, x, matrix, "sigmoid", in_c_from=0)
    torch.testing.assert_close(found, torch.sigmoid(total + x @ matrix.t()))
    assert asked == ["product", "added"]


def test_a_model_learns_by_them_as_by_torch(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Products by themselves, added to something, with activations; of requests, candidates and positions."""
    monkeypatch.setattr(choices, "PRODUCTS_IN_C", replace(choices.PRODUCTS_IN_C, least=0))
    torch.manual_seed(0)
    settings = {"dim": 4, "heads": 2, "sizes": [64, 24], "dropout": 0.0}
    model = specc.compile("bst", **settings)
    batch, found = random_batch(model.manifest, 96, 0), []
    for switch in ("1", "0"):
        monkeypatch.setenv("AREC_NATIVE", switch)
        model.zero_grad()
        loss = model.loss(batch)
        loss.backward()
        slopes = {name: p.grad.to_dense() for name, p in model.named_parameters() if p.grad is not None}
        found.append({"": loss.detach(), **slopes})
        assert {*asked} == {"product", "added"}
        assert len(asked) > 4
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)
