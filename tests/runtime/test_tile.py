"""Tile by tile is all at once, in value and gradient, of what is given and of what is closed over."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from specc_runtime.layout import Axis, Layout
from specc_runtime.ops import fields, pairs
from specc_runtime.ops.fields import lookup
from specc_runtime.ops.tile import Factor, by_tile, paired, weighted_sum

T = Axis("h.t", bound=7)


def test_tiles_make_the_whole() -> None:
    torch.manual_seed(0)
    x = torch.randn(23, 5, 2, dtype=torch.float64, requires_grad=True)
    gain = torch.randn(23, 1, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)

    def summed(x: Tensor, gain: Tensor) -> Tensor:
        return torch.relu(pairs(x, 1) @ w).sum(1) * gain

    found, expected = by_tile(summed, 4, x, gain), summed(x, gain)
    assert torch.allclose(found, expected)
    seed = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(found, (x, gain, w), seed),
        torch.autograd.grad(expected, (x, gain, w), seed),
        strict=True,
    ):
        assert torch.allclose(mine, theirs)
    with torch.no_grad():
        assert torch.allclose(by_tile(summed, 4, x, gain), expected)


def test_a_gradient_may_be_taken_again_but_not_of_a_gradient() -> None:
    torch.manual_seed(0)
    x = torch.randn(9, 4, 2, dtype=torch.float64, requires_grad=True)
    found = by_tile(lambda x: pairs(x, 1).exp().sum(1), 2, x).sum()
    (first,) = torch.autograd.grad(found, x, retain_graph=True)
    assert torch.equal(torch.autograd.grad(found, x, retain_graph=True)[0], first)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(found, x, create_graph=True)


def test_tiles_are_computed_again_as_they_were_in_lower_precision() -> None:
    torch.manual_seed(0)
    w = torch.randn(3, 3, requires_grad=True)
    x = torch.randn(8, 3, requires_grad=True)

    def squared(x: Tensor) -> Tensor:
        return torch.relu(x @ w).square()

    found = []
    for rows in (8, 3):
        with torch.autocast("cpu", torch.bfloat16):
            y = by_tile(squared, rows, x)
        found.append((y.detach(), *torch.autograd.grad(y.sum(), (x, w))))
    assert found[0][0].dtype == torch.bfloat16
    torch.testing.assert_close(*found, rtol=0.02, atol=0.02)


def test_nothing_of_a_tile_is_kept_for_backward() -> None:
    x = torch.randn(10, 6, 2, requires_grad=True)
    made = []

    def wide(x: Tensor) -> Tensor:
        inner = pairs(x, 1)
        made.append(weakref.ref(inner))
        return inner.exp().sum(1)

    y = by_tile(wide, 5, x)
    assert [inner() for inner in made] == [None, None]
    y.sum().backward()
    assert len(made) == 4
    assert [inner() for inner in made] == [None] * 4


def test_one_tile_may_be_enough_and_none_too() -> None:
    x = torch.randn(3, 4, 2)
    assert torch.equal(by_tile(lambda x: x.sum(1), 8, x), x.sum(1))
    assert by_tile(lambda x: x.sum(1), 8, x[:0]).shape == (0, 2)


def looked_up() -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Two tables with ids, and what is looked up for these at the seven positions of three histories."""
    tables = [torch.randn(5, w, dtype=torch.float64, requires_grad=True) for w in (2, 3)]
    parts = [(table, torch.randint(0, 5, (7,))) for table in tables]
    (x,) = lookup(parts)
    return parts, x


def test_what_tables_gave_may_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(3, {"h.t": torch.tensor([4, 0, 3])}, None)
    rows = layout[T]
    torch.manual_seed(0)
    parts, x = looked_up()
    q, matrix, own = (
        torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((3, 5), (4, 5), (4, 5))
    )
    given = [*(table for table, _ in parts), q, matrix, own]
    results = []
    for large in (0, 2**40):
        monkeypatch.setattr(fields, "_LARGE", large)
        weight = paired(Factor(x, rows, own, parts), Factor(q, layout[()]), matrix, None, rows)
        total = weighted_sum(weight.sum(-1, keepdim=True), x, rows, T)
        results.append((total, *torch.autograd.grad(total.square().sum(), given, retain_graph=True)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_table_that_has_changed_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "_LARGE", 0)
    layout = Layout(3, {"h.t": torch.tensor([4, 0, 3])}, None)
    parts, x = looked_up()
    q = torch.randn(3, 5, dtype=torch.float64)
    total = paired(Factor(x, layout[T], None, parts), Factor(q, layout[()]), None, None, layout[T]).sum()
    with torch.no_grad():
        parts[1][0].mul_(2)
    with pytest.raises(RuntimeError, match="modified in place"):
        total.backward()


def test_an_accelerator_gets_all_rows_at_once() -> None:
    """Tiles are for a processor's cache; on a device each costs a launch."""
    called: list[int] = []

    def summed(x: Tensor) -> Tensor:
        called.append(len(x))
        return x.sum(1)

    for device, calls in (("cpu", [8] * 21 + [2]), ("meta", [170])):
        called.clear()
        x = torch.zeros(170, 4, 2, device=device)
        by_tile(summed, 8, x)
        assert called == calls
