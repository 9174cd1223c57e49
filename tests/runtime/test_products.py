"""Products of some rows: those of all, picked."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from specc_runtime.ops import fields, product, tile
from specc_runtime.ops.fields import lookup


@pytest.mark.parametrize("few", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_some_rows_of_a_product(
    few: tuple[int, ...], biased: bool, added: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side by side are parts of two tables, of some of which few rows are named; and of none of any."""
    monkeypatch.setattr(fields, "_WORTH", 0)  # in a test all is small
    monkeypatch.setattr(tile, "TILE", 4 * rows)  # 4 numbers a row
    torch.manual_seed(0)
    sizes = [(20, 2), (20, 3), (4, 5), (7, 4), (4,)]
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in sizes]
    *tables, matrix, total, bias = given
    ids = [torch.randint(4, 7, (13,)) if i in few else torch.randperm(20)[:13] for i in range(2)]
    at = torch.randperm(13)[:7]
    used = [*tables, matrix, *([total] if added else []), *([bias] if biased else [])]
    parts = list(zip(tables, ids, strict=True))
    (x,) = lookup(parts)
    found = product(x, matrix, bias if biased else None, at, total if added else None, parts)
    expected = F.linear(x, matrix, bias if biased else None)[at] + (total if added else 0)
    torch.testing.assert_close(found, expected)
    seed = torch.randn_like(expected)
    mine = torch.autograd.grad(found, used, seed, retain_graph=True)
    theirs = torch.autograd.grad(expected, used, seed)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_what_is_multiplied_may_want_no_gradient() -> None:
    matrix = torch.randn(2, 3, requires_grad=True)
    product(torch.ones(4, 3), matrix, None, torch.tensor([3, 1])).sum().backward()
    torch.testing.assert_close(matrix.grad, torch.full((2, 3), 2.0))


def test_no_rows() -> None:
    x, matrix = (torch.randn(*s, requires_grad=True) for s in ((4, 3), (2, 3)))
    found = product(x, matrix, None, torch.empty(0, dtype=torch.int64))
    assert found.shape == (0, 2)
    found.sum().backward()
    assert x.grad is not None
    assert not x.grad.any()
