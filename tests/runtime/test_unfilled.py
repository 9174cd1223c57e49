"""Large tables have their starting values when anybody reads them, the same ones whenever that is."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

import specc
from specc_runtime import layers, starting
from specc_runtime.layers import Table
from specc_runtime.train.lazy import build_optimizer
from specc_runtime.unfilled import bare_tables


@pytest.fixture(autouse=True)
def _every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "LATER", 8)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.a = Table(50, 4, ("normal", 0.5))
        self.b = Table(30, 4, ("uniform", 0.5))
        self.c = Table(2, 2)


def saved(model: Two) -> Tensor:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    found: Tensor = torch.load(file)["a.weight"]
    return found


READERS: list[Callable[[Two], Tensor]] = [
    lambda m: m.a.weight,
    lambda m: getattr(m.a, "weight").detach(),  # noqa: B009
    lambda m: next(m.parameters()),
    lambda m: dict(m.named_parameters())["a.weight"],
    lambda m: m.a._parameters["weight"],  # type: ignore[return-value]
    lambda m: list(m.a._parameters.values())[0],  # type: ignore[return-value]  # noqa: RUF015
    lambda m: dict(m.a._parameters)["weight"],  # type: ignore[return-value]
    lambda m: {**m.a._parameters}["weight"],  # type: ignore[return-value]
    lambda m: m.state_dict()["a.weight"],
    lambda m: copy.deepcopy(m).a.weight,
    lambda m: copy.copy(m.a).weight,
    lambda m: m.a.embedding(torch.arange(50)),
    lambda m: m.double().a.weight.float(),
    lambda m: nn.utils.parameters_to_vector(m.parameters())[:200].reshape(50, 4),
    saved,
]


@pytest.mark.parametrize("read", READERS)
def test_whoever_reads_a_table_finds_its_values(read: Callable[[Two], Tensor]) -> None:
    model = Two()
    _ = model.b.weight  # in whatever order
    torch.manual_seed(1)
    found, expected = read(model), Two().a.weight
    torch.testing.assert_close(found, expected, rtol=0, atol=0, check_dtype=False)
    assert 0.4 < found.std() < 0.6
    assert type(model.a.__dict__["_parameters"]) is dict


def test_what_draws_later_is_the_same() -> None:
    _, first = Two(), torch.rand(3)
    model = Two()
    assert torch.equal(torch.rand(3), first)
    before = torch.get_rng_state()
    _ = model.a.weight
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_drawn_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, plain = [], layers.initialize
    for module in (layers, starting):
        monkeypatch.setattr(module, "initialize", lambda x, *given: drawn.append(x) or plain(x, *given))
    text = """model small
    table items = vocab(500, 4)
    space user from request { id: vocab(300, 4) }
    space ad from candidate { item: items }
    device host = "cpu"
    place items on host
    predict click: binary = concat(user, ad) |> linear(1)
    """
    model = specc.compile(text)
    assert [tuple(x.shape) for x in drawn] == [(1, 8), (1,)]
    build_optimizer(model, "adam", {"lr": 1.0})
    assert len(drawn) == 4


def test_many_threads_read_at_once() -> None:
    for _ in range(10):
        model = Two()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _, m=model: m.a.weight.sum().item(), range(8)))
        assert set(found) == {Two().a.weight.sum().item()}


def test_a_weight_that_is_replaced() -> None:
    model = Two()
    model.a.weight = nn.Parameter(torch.ones(3, 4))
    assert torch.equal(model.a.weight, torch.ones(3, 4))
    other = Two()
    other.load_state_dict({**Two().state_dict(), "a.weight": torch.ones(50, 4)})
    assert torch.equal(other.a.weight, torch.ones(50, 4))


@pytest.mark.parametrize("rows", [3, 47, 100, 1000])
@pytest.mark.parametrize("init", [("normal", 0.5), ("uniform", 0.1), ("xavier",), ("he",), ("constant", 2.0),
                                  ("zeros",), ("sinusoid",)])  # fmt: skip
def test_a_piece_at_a_time_values_are_the_same(rows: int, init: tuple[object, ...]) -> None:
    torch.manual_seed(7)
    whole = Table(rows, 6, init).weight
    torch.manual_seed(7)
    with bare_tables():
        table = Table(rows, 6, init)
    assert table.weight.is_meta
    assert table.start is not None
    found = torch.zeros(rows, 6)
    for begin, piece in table.start.pieces(20):
        found[begin : begin + len(piece)] = piece
    assert torch.equal(found, whole)
