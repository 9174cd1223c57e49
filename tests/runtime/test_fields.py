"""Lookups: values and gradients are those of torch's own lookups, one gradient a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from specc_runtime import Bag, stale
from specc_runtime.ops import embed, embed_bag, lookup
from specc_runtime.ops.fields import Part

ROWS = (40, 6, 10_000)


class Owner:
    """Of a table that goes by row, and owes its rows nothing."""

    def inbox(self) -> None:
        return None

    def catch_up(self, weight: Tensor, rows: Tensor | None) -> None:
        pass

    @staticmethod
    def catching(held: Sequence[tuple[stale.Owner, Tensor]]) -> None:
        pass

    @staticmethod
    def catch_up_rows(reads: Sequence[tuple[stale.Owner, Tensor, Tensor]]) -> None:
        pass


def tables(dtype: torch.dtype, by_row: bool, widths: tuple[int, ...] = (4, 4, 4)) -> list[Tensor]:
    found = [
        torch.randn(rows, width, dtype=dtype, requires_grad=True)
        for rows, width in zip(ROWS, widths, strict=True)
    ]
    for weight in found:
        stale.own(weight, Owner() if by_row else None)
    return found


def ids(count: int, table: int) -> Tensor:
    return torch.randint(0, ROWS[table], (count,))


def bag(count: int, table: int, longest: int = 3) -> Bag:
    lengths = torch.randint(0, longest + 1, (count,))
    return Bag(ids(int(lengths.sum()), table), lengths)


def plain(values: tuple[list[Part], ...]) -> tuple[Tensor, ...]:
    def one(weight: Tensor, named: Tensor | Bag, mode: str = "sum") -> Tensor:
        if isinstance(named, Tensor):
            return F.embedding(named, weight)
        begins = named.lengths.cumsum(0) - named.lengths
        return F.embedding_bag(named.values, weight, begins, mode=mode)

    return tuple(torch.cat([one(*part) for part in parts], -1) for parts in values)


def gradients(found: tuple[Tensor, ...], factors: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    total = torch.stack([(x * f).sum() for x, f in zip(found, factors, strict=True)]).sum()
    return list(torch.autograd.grad(total, weights))


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("widths", [(4, 4, 4), (4, 8, 4), (4, 3, 5)])
@pytest.mark.parametrize(("few", "many"), [(9, 50), (9, 0), (0, 0), (30, 7)])
def test_lookups_are_those_of_torch(
    few: int, many: int, widths: tuple[int, ...], dtype: torch.dtype, by_row: bool
) -> None:
    torch.manual_seed(few + many)
    items, kinds, large = weights = tables(dtype, by_row, widths)
    ones = Bag(ids(many, 0), torch.ones(many, dtype=torch.int64))
    values: tuple[list[Part], ...] = (
        [(items, ids(many, 0)), (kinds, ids(many, 1)), (items, ones, "mean")],
        [(items, ids(few, 0)), (kinds, bag(few, 1), "mean")],
        [(large, bag(many, 2), "sum"), (kinds, ids(many, 1))],
    )
    found, expected = lookup(*values), plain(values)
    for value, own in zip(found, expected, strict=True):
        assert torch.allclose(value, own)
    factors = [torch.randn_like(x) for x in expected]
    for grad, own in zip(
        gradients(found, factors, weights), gradients(expected, factors, weights), strict=True
    ):
        assert grad.is_sparse == by_row
        assert not by_row or grad.is_coalesced()
        assert torch.allclose(grad.to_dense(), own, atol=1e-5)


class Largest(TorchDispatchMode):
    """How many numbers the largest result of an operation had."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and x.layout == torch.strided:
                self.numbers = max(self.numbers, x.numel())
        return result


def test_no_gradient_of_a_tables_size_is_made_for_one_that_goes_by_row() -> None:
    items, kinds, large = tables(torch.float32, by_row=True)
    found = lookup([(large, ids(20, 2)), (items, ids(20, 0))], [(large, bag(5, 2), "mean")])
    loss = found[0].sum() + found[1].sum() + embed(kinds, ids(20, 1)).sum()
    with Largest() as largest:  # type: ignore[no-untyped-call]
        loss.backward()
    assert 0 < largest.numbers < 2000
    assert large.grad is not None
    assert large.grad.is_sparse


def test_a_table_that_is_not_trained_has_no_gradient() -> None:
    items, kinds, _ = tables(torch.float32, by_row=True)
    items.requires_grad_(False)
    (found,) = lookup([(items, ids(5, 0)), (kinds, ids(5, 1))])
    found.sum().backward()
    assert items.grad is None
    assert kinds.grad is not None


def test_what_nobody_reads_counts_nothing() -> None:
    items, kinds, _ = tables(torch.float32, by_row=True)
    found, _ = lookup([(items, ids(5, 0))], [(kinds, ids(5, 1))])
    found.sum().backward()
    assert items.grad is not None
    assert kinds.grad is None


def test_one_field_alone() -> None:
    items, *_ = tables(torch.float64, by_row=False)
    named, several = ids(7, 0), bag(6, 0)
    assert torch.equal(embed(items, named), items[named])
    for mode in ("sum", "mean"):
        assert torch.allclose(embed_bag(items, several, mode), plain(([(items, several, mode)],))[0])


def test_fields_of_different_rows_do_not_stand_side_by_side() -> None:
    items, kinds, _ = tables(torch.float32, by_row=True)
    with pytest.raises(ValueError, match="have 5 and 4 rows"):
        lookup([(items, ids(5, 0)), (kinds, ids(4, 1))])


@pytest.mark.parametrize("native", ["0", "1"])
def test_many_tables_side_by_side(native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AREC_NATIVE", native)
    torch.manual_seed(0)
    for rows in (0, 1, 7, 40):
        weights = [torch.randn(5 + n, width) for n, width in enumerate((1, 4, 3, 16, 1, 4))]
        named = [torch.randint(0, len(weight), (rows,)) for weight in weights]
        shared = Bag(torch.randint(0, 5, (2 * rows,)), torch.full((rows,), 2))
        parts: list[Part] = [*zip(weights, named, strict=True), (weights[0], shared, "mean")]
        found, again = lookup(parts, parts[2:5])
        expected = plain((parts, parts[2:5]))
        torch.testing.assert_close((found, again), expected, rtol=0, atol=0)


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("wrong", [-1, 6])
def test_an_id_that_is_no_row(native: str, wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AREC_NATIVE", native)
    weights = [torch.randn(6, 2) for _ in range(5)]
    good, bad = torch.tensor([0, 5]), torch.tensor([0, wrong])
    with pytest.raises(IndexError):
        lookup([(weight, bad if n == 3 else good) for n, weight in enumerate(weights)])
