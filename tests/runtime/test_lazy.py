"""Optimizers by row that are lazy, and what all by row have in common."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from specc_runtime.layers import Table
from specc_runtime.ops import embed
from specc_runtime.train.lazy import build_optimizer, clip_gradients


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.items = Table(50, 4, init=("normal", 1.0))
        self.out = nn.Linear(4, 1)

    def forward(self, ids: Tensor) -> Tensor:
        score: Tensor = self.out(embed(self.items.weight, ids)).sum()
        return score + 0.1 * self.items.penalty(ids)


def trained(
    name: str, options: dict[str, Any], tables: str, batches: list[Tensor], clip: float | None = None
) -> Toy:
    torch.manual_seed(0)
    model = Toy().double()
    optimizer = build_optimizer(model, name, options, tables)
    for ids in batches:
        optimizer.zero_grad()
        model(ids).backward()
        if clip is not None:
            clip_gradients(model.parameters(), clip)
        optimizer.step()
    return model


def batches(rows: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, rows, (12,), generator=generator) for _ in range(6)]


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(("name", "options"), [("sgd", {"lr": 0.1}), ("adagrad", {"lr": 0.1})])
def test_sgd_and_adagrad_by_row_are_the_dense_ones(
    name: str, options: dict[str, Any], clip: float | None
) -> None:
    lazy, dense = (trained(name, options, tables, batches(50), clip) for tables in ("lazy", "dense"))
    for path, weight in lazy.state_dict().items():
        assert torch.allclose(weight, dense.state_dict()[path], atol=1e-10), path


def test_adam_by_row_is_dense_adam_where_every_batch_names_every_row() -> None:
    every = [torch.arange(50) for _ in range(5)]
    lazy, dense = (trained("adam", {"lr": 0.01}, tables, every) for tables in ("lazy", "dense"))
    assert torch.allclose(lazy.items.weight, dense.items.weight, atol=1e-6)


def test_adam_by_row_leaves_other_rows_where_they_are() -> None:
    torch.manual_seed(0)
    start = Toy().double().items.weight.detach()
    named = torch.cat(batches(20))
    model = trained("adam", {"lr": 0.01}, "lazy", batches(20))
    moved = (model.items.weight.detach() != start).any(1)
    assert moved.nonzero().squeeze(1).tolist() == named.unique().tolist()


def test_the_gradient_of_a_table_has_the_rows_of_the_batch() -> None:
    model = Toy()
    build_optimizer(model, "adam", {"lr": 0.01})
    model(torch.tensor([3, 3, 7])).backward()
    grad = model.items.weight.grad
    assert grad is not None
    assert grad.is_sparse
    assert grad.coalesce().indices().tolist() == [[3, 7]]


def test_a_schedule_reaches_layers_and_tables() -> None:
    optimizer = build_optimizer(Toy(), "adam", {"lr": 1.0})
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_state_goes_out_and_back() -> None:
    torch.manual_seed(0)
    model = Toy()
    optimizer = build_optimizer(model, "adam", {"lr": 0.1}, "lazy")
    model(torch.tensor([1])).backward()
    optimizer.step()
    again = build_optimizer(model, "adam", {"lr": 0.2}, "lazy")
    again.load_state_dict(optimizer.state_dict())
    assert [group["lr"] for group in again.param_groups] == [0.1, 0.1]
    optimizer.zero_grad()
    model(torch.tensor([1])).backward()
    again.step()


@pytest.mark.parametrize(
    ("name", "options", "tables", "said"),
    [
        ("adm", {}, "lazy", "there is no optimizer 'adm'; there are adadelta, adagrad"),
        ("adam", {"speed": 1}, "lazy", "adam does not take all of the options speed"),
        ("sgd", {"lr": 0.1, "momentum": 0.9}, "lazy", 'sgd with momentum cannot go by row: .* use "dense"'),
        ("rmsprop", {}, "lazy", "rmsprop cannot go by row"),
        ("adam", {}, "sparse", 'tables are "exact", "lazy" or "dense", not \'sparse\''),
    ],
)
def test_what_cannot_be_is_said(name: str, options: dict[str, Any], tables: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_optimizer(Toy(), name, options, tables)
