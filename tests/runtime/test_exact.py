"""Optimizers by row are the dense ones: whatever rows have missed is done when they are read."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from specc_runtime.batch import Bag
from specc_runtime.layers import Table
from specc_runtime.ops import embed, lookup, whole
from specc_runtime.train import skipped
from specc_runtime.train.lazy import build_optimizer, clip_gradients

ROWS = 60
# Many more random examples.
LONG = os.environ.get("AREC_LONG") == "1"


class Toy(nn.Module):
    def __init__(self, rows: int = ROWS) -> None:
        super().__init__()
        self.items = Table(rows, 4, init=("normal", 1.0))
        self.users = Table(rows, 2, init=("normal", 1.0))
        self.out = nn.Linear(6, 1)

    def forward(self, ids: Tensor) -> Tensor:
        side_by_side = lookup([(self.items.weight, ids), (self.users.weight, ids.flip(0))])[0]
        score: Tensor = self.out(side_by_side).tanh().sum()
        # Read again, in another lookup.
        return score + 0.1 * self.items.penalty(ids) + embed(self.items.weight, ids[:1]).sin().sum()


Schedule = Callable[[Optimizer], Any]
SCHEDULES: dict[str, Schedule] = {
    "none": lambda o: None,
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.98),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 30),
    "warmup": lambda o: lr_scheduler.LinearLR(o, 0.01, total_iters=40),
    "step": lambda o: lr_scheduler.StepLR(o, 15, 0.5),
    "cycle": lambda o: lr_scheduler.CyclicLR(o, 1e-4, 0.02, 9, cycle_momentum=False),
}
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("adam", {"lr": 0.01}),
    ("adam", {"lr": 0.01, "betas": (0.9, 0.99)}),
    ("adam", {"lr": 0.01, "betas": (0.99, 0.999), "eps": 1e-3}),
    ("adam", {"lr": 0.01, "betas": (0.0, 0.5)}),
    ("adamw", {"lr": 0.01, "weight_decay": 0.1}),
    ("adamw", {"lr": 0.01, "weight_decay": 200.0}),
    ("adagrad", {"lr": 0.1, "lr_decay": 0.01}),
    ("rmsprop", {"lr": 0.01}),
    ("rmsprop", {"lr": 0.01, "momentum": 0.9, "centered": True}),
    ("adadelta", {"lr": 0.5}),
    ("sgd", {"lr": 0.1}),
    ("sgd", {"lr": 0.1, "weight_decay": 0.1}),
    ("sgd", {"lr": 0.1, "momentum": 0.9}),
    ("sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("sgd", {"lr": 0.1, "momentum": 0.95, "dampening": 0.3, "weight_decay": 0.01}),
]


def batches(count: int, seed: int, rows: int = ROWS, each: int = 3) -> list[Tensor]:
    """Of few rows each; some rows come late, some once, and some never."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randint(0, rows - 20, (each,), generator=generator) for _ in range(count)]
    found[count // 2] = torch.tensor([rows - 1, rows - 2])
    found[-2] = torch.tensor([rows - 3])
    return found


def trained(
    name: str,
    options: dict[str, Any],
    tables: str,
    given_batches: list[Tensor],
    schedule: str = "none",
    clip: float | None = None,
    stop: int | None = None,
    dtype: torch.dtype = torch.float64,
    rows: int = ROWS,
) -> Toy:
    """stop: the step after which everything goes through a file."""
    torch.manual_seed(0)
    model = Toy(rows).to(dtype)
    optimizer = build_optimizer(model, name, options, tables)
    plan = SCHEDULES[schedule](optimizer)
    for number, ids in enumerate(given_batches):
        optimizer.zero_grad()
        model(ids).backward()
        if clip is not None:
            clip_gradients(model.parameters(), clip)
        optimizer.step()
        if plan is not None:
            plan.step()
        if number == stop:
            file = io.BytesIO()
            torch.save([model.state_dict(), optimizer.state_dict(), plan and plan.state_dict()], file)
            file.seek(0)
            weights, state, planned = torch.load(file)
            model = Toy(rows).to(dtype)
            model.load_state_dict(weights)
            optimizer = build_optimizer(model, name, {**options, "lr": 7.0}, tables)
            plan = SCHEDULES[schedule](optimizer)
            optimizer.load_state_dict(state)
            if plan is not None:
                plan.load_state_dict(planned)
    return model


def assert_same(found: nn.Module, expected: nn.Module, error: float = 1e-9) -> None:
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=error, atol=error)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    clip=st.sampled_from([None, 0.5]),
    stop=st.sampled_from([None, 0, 40]),
    seed=st.integers(0, 99),
)
@settings(max_examples=4, deadline=None)
def test_are_the_dense_ones(
    name: str, options: dict[str, Any], schedule: str, clip: float | None, stop: int | None, seed: int
) -> None:
    given_batches = batches(60, seed)
    exact = trained(name, options, "exact", given_batches, schedule, clip, stop)
    assert_same(exact, trained(name, options, "dense", given_batches, schedule, clip))


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
@given(schedule=st.sampled_from(sorted(SCHEDULES)), stop=st.integers(0, 498), seed=st.integers(0, 99))
@settings(max_examples=20 if LONG else 1, deadline=None)
def test_500_steps_of_which_each_names_one_row_in_a_hundred(
    name: str, options: dict[str, Any], schedule: str, stop: int, seed: int
) -> None:
    rows, given_batches = 1000, batches(500, seed, rows=1000, each=10)
    exact = trained(name, options, "exact", given_batches, schedule, stop=stop, rows=rows)
    assert_same(exact, trained(name, options, "dense", given_batches, schedule, rows=rows), 1e-7)


@given(
    betas=st.tuples(st.floats(0, 0.99), st.floats(0.9, 0.9999)),
    eps=st.sampled_from([1e-12, 1e-8, 1e-3, 1.0]),
    decay=st.sampled_from([0.0, 0.01, 1.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_adam_with_whatever_options(betas: tuple[float, float], eps: float, decay: float, seed: int) -> None:
    options = {"lr": 0.01, "betas": betas, "eps": eps, "weight_decay": decay}
    if skipped.without_closed_form("adamw", options) is not None:
        return
    given_batches = batches(60, seed)
    exact, dense = (trained("adamw", options, tables, given_batches) for tables in ("exact", "dense"))
    assert_same(exact, dense, 1e-7)


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adam", {"lr": 0.01, "betas": (0.5, 0.8)}),  # soon it takes fewer points
        ("adamw", {"lr": 0.01, "betas": (0.5, 0.8), "weight_decay": 1.0}),
        ("sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
        ("rmsprop", {"lr": 0.01, "momentum": 0.9, "centered": True}),
    ],
)
def test_with_and_without_kernels(
    native: str, name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AREC_NATIVE", native)
    given_batches = batches(120, 7)
    exact, dense = (trained(name, options, tables, given_batches) for tables in ("exact", "dense"))
    assert_same(exact, dense)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adam", {"lr": 1e-3}),
        ("adamw", {"lr": 1e-3}),
        ("adagrad", {"lr": 0.01}),
        ("rmsprop", {"lr": 1e-3, "momentum": 0.9}),
        ("adadelta", {"lr": 0.1}),
        ("sgd", {"lr": 0.01, "momentum": 0.9}),
        ("sgd", {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ],
)
def test_in_single_precision_for_500_steps(name: str, options: dict[str, Any]) -> None:
    """As near to what the steps are in double precision as twice the dense one's rounding."""
    given_batches = batches(500, 3)
    found = [
        trained(name, options, tables, given_batches, dtype=torch.float32) for tables in ("exact", "dense")
    ]
    true = trained(name, options, "dense", given_batches)
    weight = true.items.weight
    errors = [((m.items.whole().double() - weight) / weight.abs().clamp(min=1e-3)).abs().max() for m in found]
    assert errors[0] < max(2 * errors[1], 1e-6)


class Fields(nn.Module):
    """Many tables, of which each step reads some: fields of equal and of other widths."""

    def __init__(self) -> None:
        super().__init__()
        widths = (4, 4, 1, 4, 1, 3, 4)
        self.tables = nn.ModuleList([Table(10 + n, w, ("normal", 1.0)) for n, w in enumerate(widths)])

    def forward(self, ids: Tensor, step: int) -> Tensor:
        some = [t.weight for n, t in enumerate(self.tables) if (step + n) % 3]
        first: Tensor = lookup([(w, ids.remainder(len(w))) for w in some])[0]
        # Rows out of order, and repeatedly, by torch's own lookup.
        last = self.tables[-1]
        assert isinstance(last, Table)
        return first.tanh().sum() + last.embedding(ids.flip(0).remainder(5)).sin().sum()


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize(("name", "options"), [OPTIMIZERS[n] for n in (4, 6, 8)])
def test_many_tables_of_several_widths(
    native: str, name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AREC_NATIVE", native)

    def run(tables: str) -> Fields:
        torch.manual_seed(0)
        model = Fields().double()
        optimizer = build_optimizer(model, name, options, tables)
        for number, ids in enumerate(batches(12, 4, rows=30)):
            optimizer.zero_grad()
            model(ids, number).backward()
            optimizer.step()
        return model

    assert_same(run("exact"), run("dense"))


def test_over_many_blocks_and_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("skipped", "rowwise"):
        monkeypatch.setattr(f"specc_runtime.train.{module}.LENGTH", 500)
    for name, options in (OPTIMIZERS[0], OPTIMIZERS[4], OPTIMIZERS[13]):
        given_batches = batches(800, 5)
        exact, dense = (trained(name, options, tables, given_batches) for tables in ("exact", "dense"))
        assert_same(exact, dense)


def test_a_row_is_up_to_date_when_it_is_read() -> None:
    def run(tables: str) -> Tensor:
        torch.manual_seed(0)
        model = Toy().double()
        optimizer = build_optimizer(model, "adam", {"lr": 0.1}, tables)
        for ids in ([1, 2], [3, 4], [3, 5]):
            optimizer.zero_grad()
            model(torch.tensor(ids)).backward()
            optimizer.step()
        with torch.no_grad():
            bag = Bag(torch.tensor([1, 4, 2]), torch.tensor([2, 1]))
            read = lookup([(model.items.weight, bag, "mean")], [(model.users.weight, bag.values)])
            return torch.cat([*(x.flatten() for x in read), model.items.whole().flatten()])

    torch.testing.assert_close(run("exact"), run("dense"), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("take", [
    lambda m: m.eval(),
    lambda m: m.state_dict(),
    copy.deepcopy,
    lambda m: m.float().double(),
    lambda m: build_optimizer(m, "sgd", {"lr": 1.0}),
    lambda m: build_optimizer(m, "sgd", {"lr": 1.0}, "dense"),
])  # fmt: skip
def test_whoever_takes_a_table_as_a_whole_has_all_its_rows(take: Callable[[Toy], Any]) -> None:
    def run(tables: str) -> Toy:
        torch.manual_seed(0)
        model = Toy().double()
        optimizer = build_optimizer(model, "sgd", {"lr": 0.1, "momentum": 0.9}, tables)
        for ids in ([1, 2], [3, 4], [3, 5]):
            optimizer.zero_grad()
            model(torch.tensor(ids)).backward()
            optimizer.step()
        taken = take(model)
        return taken if isinstance(taken, Toy) else model

    dense, exact = run("dense"), run("exact")
    torch.testing.assert_close(exact.items.weight, dense.items.weight, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS[::3])
def test_a_table_that_is_read_as_a_whole_too(name: str, options: dict[str, Any]) -> None:
    def run(tables: str) -> Toy:
        torch.manual_seed(0)
        model = Toy().double()
        optimizer = build_optimizer(model, name, options, tables)
        for number, ids in enumerate(batches(20, 1)):
            optimizer.zero_grad()
            loss = model(ids)
            if number % 3 == 1:
                loss = loss + (whole(model.items.weight) * torch.arange(ROWS).reshape(1, -1, 1)).tanh().sum()
            loss.backward()
            optimizer.step()
        return model

    assert_same(run("exact"), run("dense"))


def test_a_table_without_gradient_takes_no_step() -> None:
    def run(tables: str) -> Toy:
        torch.manual_seed(0)
        model = Toy().double()
        optimizer = build_optimizer(model, "adamw", {"lr": 0.1}, tables)
        for number, ids in enumerate(batches(30, 1)):
            optimizer.zero_grad()
            loss = embed(model.items.weight, ids).sin().sum()
            if number % 3:
                loss = loss + embed(model.users.weight, ids).sin().sum()
            loss.backward()
            optimizer.step()
        return model

    assert_same(run("exact"), run("dense"))


def test_options_may_change_between_steps() -> None:
    def run(tables: str) -> Toy:
        torch.manual_seed(0)
        model = Toy().double()
        optimizer = build_optimizer(model, "adamw", {"lr": 0.1, "weight_decay": 0.0}, tables)
        plan = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=40)
        for number, ids in enumerate(batches(30, 1)):
            for group in optimizer.param_groups:
                group["weight_decay"] = 0.3 * (number > 20)
            optimizer.zero_grad()
            model(ids).backward()
            optimizer.step()
            plan.step()
        return model

    assert_same(run("exact"), run("dense"))


def test_weights_may_be_replaced_on_the_way() -> None:
    def run(tables: str) -> Toy:
        torch.manual_seed(0)
        model = Toy().double()
        start = copy.deepcopy(model.state_dict())
        optimizer = build_optimizer(model, "adam", {"lr": 0.1}, tables)
        for number, ids in enumerate(batches(30, 1)):
            if number == 13:
                model.load_state_dict(start)
            optimizer.zero_grad()
            model(ids).backward()
            optimizer.step()
        return model

    assert_same(run("exact"), run("dense"))


def test_a_copy_of_model_and_optimizer_goes_on() -> None:
    torch.manual_seed(0)
    model = Toy().double()
    optimizer = build_optimizer(model, "adam", {"lr": 0.1})
    both = (model, optimizer)
    for number, ids in enumerate(batches(30, 1)):
        if number == 13:
            both = copy.deepcopy(both)
        both[1].zero_grad()
        both[0](ids).backward()
        both[1].step()
    assert_same(both[0], trained("adam", {"lr": 0.1}, "dense", batches(30, 1)))


def test_the_state_of_another_algorithm_is_refused() -> None:
    model = Toy()
    states = {}
    for tables in ("exact", "lazy", "dense"):
        optimizer = build_optimizer(model, "adam", {"lr": 0.1}, tables)
        model(torch.tensor([1])).backward()
        optimizer.step()
        states[tables] = optimizer.state_dict()
    old = copy.deepcopy(states["lazy"])
    for group in old["tables"]["param_groups"]:
        del group["rows"]
    exact = build_optimizer(model, "adam", {"lr": 0.1})
    for state in (states["lazy"], old):
        with pytest.raises(ValueError, match="tables that are trained lazily, not exactly"):
            exact.load_state_dict(state)
    with pytest.raises(ValueError, match="tables that are trained as a whole"):
        exact.load_state_dict(states["dense"])
    build_optimizer(model, "adam", {"lr": 0.1}, "lazy").load_state_dict(old)


def test_only_the_newest_optimizer_goes_on() -> None:
    model = Toy()
    first = build_optimizer(model, "adam", {"lr": 0.1})
    build_optimizer(model, "adam", {"lr": 0.1})
    model(torch.tensor([1])).backward()
    with pytest.raises(ValueError, match="only the newest"):
        first.step()


@pytest.mark.parametrize(("name", "options", "why"), [
    ("adam", {"weight_decay": 0.1}, "no closed form .adamw has one"),
    ("adagrad", {"weight_decay": 0.1}, "no closed form"),
    ("adam", {"amsgrad": True}, "adam with amsgrad"),
    ("adam", {"betas": (0.9999, 0.9999)}, "remembers for too long"),
    ("adam", {"betas": (0.3, 0.1)}, "forgets squares too fast"),
])  # fmt: skip
def test_what_has_no_closed_form_is_dense_and_said(name: str, options: dict[str, Any], why: str) -> None:
    with pytest.warns(UserWarning, match=why):
        exact = build_optimizer(Toy(), name, options)
    assert type(exact) is getattr(torch.optim, {"adam": "Adam", "adagrad": "Adagrad"}[name])


def test_a_table_that_a_layer_shares_is_dense() -> None:
    def run(tables: str) -> Toy:
        torch.manual_seed(0)
        model = Toy().double()
        model.out = nn.Linear(4, ROWS, bias=False)
        model.out.weight = model.items.weight
        optimizer = build_optimizer(model, "adam", {"lr": 0.1}, tables)
        for ids in batches(10, 1):
            optimizer.zero_grad()
            model.out(embed(model.items.weight, ids)).tanh().sum().backward()
            optimizer.step()
        return model

    assert_same(run("exact"), run("dense"))
