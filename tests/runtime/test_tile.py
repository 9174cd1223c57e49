"""Tile by tile is all at once, in value and gradient, of what is given and of what is closed over."""

from __future__ import annotations

import torch
from torch import Tensor

from specc_runtime.ops import pairs
from specc_runtime.ops.tile import TILE, tiled


def test_tiles_make_the_whole() -> None:
    torch.manual_seed(0)
    x = torch.randn(23, 5, 2, dtype=torch.float64, requires_grad=True)
    gain = torch.randn(23, 1, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)

    def summed(x: Tensor, gain: Tensor) -> Tensor:
        return torch.relu(pairs(x, 1) @ w).sum(1) * gain

    found, expected = tiled(summed, TILE // 4, x, gain), summed(x, gain)
    assert torch.allclose(found, expected)
    seed = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(found, (x, gain, w), seed),
        torch.autograd.grad(expected, (x, gain, w), seed),
        strict=True,
    ):
        assert torch.allclose(mine, theirs)
    with torch.no_grad():
        assert torch.allclose(tiled(summed, TILE // 4, x, gain), expected)


def test_one_tile_may_be_enough_and_none_too() -> None:
    x = torch.randn(3, 4, 2)
    assert torch.equal(tiled(lambda x: x.sum(1), 8, x), x.sum(1))
    assert tiled(lambda x: x.sum(1), 8, x[:0]).shape == (0, 2)
