"""Gradients that lookups hand to an optimizer: steps are those of gradients in `weight.grad`."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import Optimizer

from specc_runtime import Bag
from specc_runtime.layers import Table
from specc_runtime.native import sums
from specc_runtime.ops import embed, embed_bag, lookup, whole
from specc_runtime.ops.handed import in_grads
from specc_runtime.train.lazy import build_optimizer, clip_gradients, take_gradients

SIZES = ((7, 3), (40, 3), (1, 2), (300, 3), (90, 1))
RULES: list[tuple[str, dict[str, Any]]] = [
    ("adam", {"lr": 0.05}),
    ("adamw", {"lr": 0.05, "weight_decay": 0.1}),
    ("adagrad", {"lr": 0.1}),
    ("sgd", {"lr": 0.1, "momentum": 0.9}),
    ("rmsprop", {"lr": 0.01}),
    ("sgd", {"lr": 0.1}),
]


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(Table(*size, init=("normal", 1.0)) for size in SIZES)
        self.out = nn.Linear(3, 1)

    def forward(self, batch: Batch) -> Tensor:
        """What it reads, and how, is drawn."""
        weights = [table.weight for table in self.tables]  # type: ignore[union-attr]
        total = self.out(embed(weights[1], batch.of(1))).tanh().sum()
        if batch.reads & 1:
            parts = [(weights[n], batch.of(n)) for n in (0, 2, 3, 4, 1)]
            side, again = lookup(parts, [(weights[0], batch.of(0).flip(0)), (weights[3], batch.of(3))])
            total = total + side.sin().sum() + (again.square().sum() if batch.reads & 2 else 0)
        if batch.reads & 4:
            total = total + embed_bag(weights[0], batch.bag(0), "mean").sin().sum()
            total = total + embed_bag(weights[3], batch.bag(3, weighted=True), "sum").cos().sum()
            (of_two,) = lookup([(weights[2], batch.alone(2), "sum"), (weights[0], batch.of(0))])
            total = total + (embed_bag(weights[4], batch.alone(4), "mean") * of_two[:, :1]).sin().sum()
        if batch.reads & 8:
            total = total + 0.1 * self.tables[3].penalty(batch.of(3))  # type: ignore[operator, union-attr]
        if batch.reads & 16:
            total = total + whole(weights[2]).square().sum()
        return total  # type: ignore[no-any-return]


class Batch:
    def __init__(self, seed: int, count: int, reads: int) -> None:
        self.seed, self.count, self.reads = seed, count, reads

    def of(self, table: int) -> Tensor:
        draw = torch.Generator().manual_seed(self.seed + table)
        return torch.randint(0, SIZES[table][0], (self.count,), generator=draw)

    def alone(self, table: int) -> Bag:
        """Bags of one id each."""
        return Bag(self.of(table), torch.ones(self.count, dtype=torch.int64))

    def bag(self, table: int, weighted: bool = False) -> Bag:
        draw = torch.Generator().manual_seed(self.seed + 10 + table)
        lengths = torch.randint(0, 4, (self.count,), generator=draw)
        values = torch.randint(0, SIZES[table][0], (int(lengths.sum()),), generator=draw)
        return Bag(values, lengths, torch.rand(len(values), generator=draw) if weighted else None)


def trained(
    batches: list[Batch], rule: tuple[str, dict[str, Any]], tables: str, handed: bool, clip: float | None
) -> tuple[Toy, Optimizer]:
    torch.manual_seed(0)
    model = Toy().double()
    optimizer = build_optimizer(model, *rule, tables)
    if handed:
        take_gradients(optimizer)
    for batch in batches:
        optimizer.zero_grad()
        model(batch).backward()
        if clip is not None:
            clip_gradients(model.parameters(), clip)
        optimizer.step()
    return model, optimizer


def same(a: Any, b: Any) -> None:
    """Both have the same values throughout, to 1e-12."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, Tensor):
        assert torch.allclose(a.double(), b.double(), rtol=1e-12, atol=1e-12)
    else:
        assert a == b


BATCHES = st.lists(
    st.builds(Batch, st.integers(0, 99), st.sampled_from([0, 1, 2, 5, 60]), st.integers(0, 31)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=10, deadline=None)
@given(BATCHES, st.sampled_from(RULES), st.booleans(), st.sampled_from([None, 0.5]))
def test_steps_are_those_of_gradients_of_each_table(
    batches: list[Batch], rule: tuple[str, dict[str, Any]], lazy: bool, clip: float | None
) -> None:
    may = rule[0] in ("adam", "adagrad", "sgd") and not rule[1].get("momentum")
    tables = "lazy" if lazy and may else "exact"
    (mine, own), (theirs, other) = (trained(batches, rule, tables, handed, clip) for handed in (True, False))
    same(mine.state_dict(), theirs.state_dict())
    same(own.state_dict(), other.state_dict())


@pytest.mark.parametrize("tables", ["lazy", "exact"])
def test_a_usual_step_makes_no_gradient_of_a_table(tables: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [Batch(number, 5, 1) for number in range(3)]
    model, optimizer = trained(batches, RULES[0], tables, True, None)

    def forbid(*given: Any, **named: Any) -> None:
        raise AssertionError("a gradient of a table was made")

    optimizer.zero_grad()
    model(batches[0]).backward()
    assert all(table.weight.grad is None for table in model.tables)  # type: ignore[union-attr]
    monkeypatch.setattr(torch, "sparse_coo_tensor", forbid)
    before = model.tables[0].weight.detach().clone()  # type: ignore[union-attr]
    optimizer.step()
    assert not torch.equal(before, model.tables[0].weight)  # type: ignore[union-attr]


def test_gradients_are_forgotten_by_zero_grad_and_added_up_without() -> None:
    batch = Batch(1, 5, 31)
    model, optimizer = trained([batch, batch], RULES[5], "exact", True, None)
    begun = copy.deepcopy(model.state_dict())
    model(batch).backward()
    optimizer.zero_grad()
    optimizer.step()
    same(model.state_dict(), begun)
    model(batch).backward()
    model(batch).backward()
    optimizer.step()
    twice = copy.deepcopy(model.state_dict())
    model.load_state_dict(begun)
    optimizer.zero_grad()
    (2 * model(batch)).backward()
    optimizer.step()
    same(model.state_dict(), twice)


def test_gradients_are_in_grad_where_asked_for() -> None:
    batch = Batch(1, 5, 7)
    model, optimizer = trained([batch], RULES[0], "exact", True, None)
    plain, _ = trained([batch], RULES[0], "exact", False, None)
    optimizer.zero_grad()
    plain.zero_grad()
    with in_grads():
        model(batch).backward()
    plain(batch).backward()
    for mine, own in zip(model.parameters(), plain.parameters(), strict=True):
        assert (mine.grad is None) == (own.grad is None)
        if mine.grad is not None and own.grad is not None:
            assert torch.allclose(mine.grad.to_dense(), own.grad.to_dense())


def test_training_goes_on_from_a_saved_state() -> None:
    batches = [Batch(number, 5, 3) for number in range(6)]
    whole, _ = trained(batches, RULES[1], "exact", True, None)
    model, optimizer = trained(batches[:3], RULES[1], "exact", True, None)
    saved = copy.deepcopy(optimizer.state_dict())
    again = Toy().double()
    again.load_state_dict(model.state_dict())
    other = build_optimizer(again, *RULES[1], "exact")
    take_gradients(other)
    other.load_state_dict(saved)
    for batch in batches[3:]:
        other.zero_grad()
        again(batch).backward()
        other.step()
    same(again.state_dict(), whole.state_dict())


def test_a_model_is_freed_with_its_optimizer() -> None:
    model, optimizer = trained([Batch(1, 5, 3)] * 2, RULES[0], "exact", True, None)
    weight = weakref.ref(model.tables[0].weight)  # type: ignore[union-attr, arg-type]
    del model, optimizer
    gc.collect()
    assert weight() is None


def test_without_a_compiler_steps_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [Batch(number, 5, 31) for number in range(4)]
    model, _ = trained(batches, RULES[0], "exact", True, None)
    monkeypatch.setenv("AREC_NATIVE", "0")
    plain, _ = trained(batches, RULES[0], "exact", True, None)
    same(model.state_dict(), plain.state_dict())


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 99),
    st.sampled_from([0, 1, 3, 47, 49, 300, 3000]),
    st.sampled_from([1, 2, 255, 257, 70_000]),
    st.sampled_from([1, 5]),
)
def test_sums_in_c_are_those_of_torch(seed: int, count: int, size: int, width: int) -> None:
    torch.manual_seed(seed)
    lengths = torch.randint(0, 3, (count,))
    ids = [torch.randint(0, size, (n,)) for n in (count, int(lengths.sum()), int(lengths.sum()))]
    grads = [torch.randn(count, width + 2, dtype=torch.float64) for _ in ids]
    shares = torch.rand(len(ids[2]), dtype=torch.float64)
    reads = [
        sums.Read(0, ids[0], grads[0], 1, None, False, None),
        sums.Read(0, ids[1], grads[1], 0, lengths, True, None),
        sums.Read(1, ids[2], grads[2], 2, lengths, False, shares),
    ]
    found = sums.summed(reads, [size, size], width, torch.float64)
    if found is None:
        pytest.skip("there is no C compiler")
    named, values, counts = found
    expected = torch.zeros(2 * size, width, dtype=torch.float64)
    owner = torch.repeat_interleave(lengths)
    expected.index_add_(0, ids[0], grads[0][:, 1 : 1 + width])
    expected.index_add_(0, ids[1], (grads[1] / lengths.clamp(min=1).unsqueeze(1))[owner, :width])
    expected.index_add_(0, ids[2] + size, grads[2][owner, 2:] * shares.unsqueeze(1))
    every = torch.cat([torch.cat(ids[:2]), ids[2] + size]).unique()
    assert counts == [int((every < size).sum()), int((every >= size).sum())]
    at = named + torch.repeat_interleave(torch.tensor([0, size]), torch.tensor(counts))
    assert torch.equal(at, every)
    assert torch.allclose(values, expected[every])
    with pytest.raises(IndexError):
        sums.summed(
            [reads[0]._replace(ids=ids[0].new_full((count + 1,), size))], [size], width, torch.float64
        )
