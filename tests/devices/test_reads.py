"""How often the host waits for values of a device: twice a training step at most, never for a forward pass.

Counted on virtual devices, where every read of a value is noted; and held on torch's own `meta` device, which
has no values, so that a read of any fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from specc.driver import load, load_source
from specc.emit import emit
from specc.ir.graph import Graph
from specc.passes import optimise
from specc.report import Report
from specc.source import Source
from specc.testing.batches import random_batch
from specc.testing.virtual import VirtualDevices
from specc_runtime import Batch, Model, from_texts
from specc_runtime.data import Place, Stream
from specc_runtime.feed import feed
from specc_runtime.train import Recipe, evaluate, train
from specc_runtime.train.lazy import Lazy, build_optimizer, clip_gradients
from tests.specs.small import few_rows

SPECS = Path(__file__).parents[2] / "specs"
ALL = sorted(
    str(path.relative_to(SPECS).with_suffix(""))
    for path in SPECS.rglob("*.arec")
    if path.parent.name != "std"
)
THERE = torch.device("meta:0")


@cache
def texts_of(spec: str) -> dict[str, str]:
    """A shipped spec, all of it on one device, compiled."""
    graph, report = load(SPECS / f"{spec}.arec", {})
    assert graph is not None, list(report)
    return emit(optimise(on_a_device(graph)))


def shipped(spec: str) -> Model:
    torch.manual_seed(1)
    return from_texts(texts_of(spec), spec.replace("/", "_"))


def on_a_device(graph: Graph) -> Graph:
    """The graph with short tables, all of it on one device."""
    places = {"rest": "there"}
    return replace(few_rows(graph, 50), devices={"there": str(THERE)}, places=places, place_spans={})


def model_of(graph: Graph) -> Model:
    torch.manual_seed(1)
    return from_texts(emit(optimise(graph)), graph.name)


class Batches:
    """As a stream gives them: random batches, each of another size."""

    batch = 6

    def __init__(self, model: Model, count: int) -> None:
        self.held = [random_batch(model.manifest, 4 + i % 3, i, longest=8) for i in range(count)]

    def steps(self, epoch: int = 0) -> int:
        return len(self.held)

    def epoch(self, start: Place) -> Iterator[tuple[Batch, Place]]:
        for number, batch in enumerate(self.held):
            yield batch, Place(start.epoch, 0, number + 1)


@pytest.mark.parametrize("spec", ALL)
def test_a_step_of_the_training_loop_reads_two_numbers(spec: str, tmp_path: Path) -> None:
    model = shipped(spec)
    batches = Batches(model, 4)
    with VirtualDevices() as machine:
        model.place()
        read: list[int] = []
        train(
            model,
            cast("Stream", batches),
            Recipe(epochs=1, batch=6, optimizer="adam", options={"lr": 1e-3}, clip=1.0),
            tmp_path / "model",
            watch=lambda progress: read.append(sum(r.numbers for r in machine.reads)),
        )
        steps = [after - before for before, after in zip([0, *read], read, strict=False)]
        assert all(numbers <= 2 for numbers in steps), (steps, machine.reads[:5])


@pytest.mark.parametrize("spec", ALL)
def test_a_forward_pass_reads_nothing(spec: str) -> None:
    model = shipped(spec)
    with VirtualDevices() as machine, torch.no_grad():
        model.place().eval()
        machine.moves.clear()
        machine.reads.clear()
        for requests in (True, False):
            batch = random_batch(model.manifest, 3, 5, longest=8, candidates=requests)
            model(batch)
            model.attention(batch)
        assert not machine.reads
        assert not [move for move in machine.moves if move.destination != THERE]


@pytest.mark.parametrize("spec", ALL)
def test_every_step_goes_without_values(spec: str) -> None:
    """On `meta` nothing has a value that could be read, in what torch itself computes neither. What the host
    works out it has on the CPU, also where torch makes tensors elsewhere by default."""
    batches = Batches(model := shipped(spec), 2).held
    requests = random_batch(model.manifest, 3, 5, longest=8, candidates=True)
    with torch.device("meta"):
        model = shipped(spec).place()
        optimizer = build_optimizer(model, "adam", {"lr": 1e-3})
        for batch in batches:
            model.train()
            optimizer.zero_grad(set_to_none=True)
            model.loss(batch).backward()
            clip_gradients(model.parameters(), 1.0)
            if isinstance(optimizer, Lazy):
                # Torch's Adam before 2.13 makes its count of steps on the default device, and reads it.
                with torch.device("cpu"):
                    optimizer.layers.step()
                optimizer.tables.step()
            else:
                optimizer.step()
        with torch.no_grad():
            found = model.eval()(requests)
    assert all(x.device.type == "meta" for x in found.values())


def test_reads_are_counted() -> None:
    with VirtualDevices() as machine:
        here = torch.tensor([2, 0, 2])
        there = here.to(THERE)
        reads = (
            there.sum().item,
            there.tolist,
            there.nonzero,
            there.unique,
            lambda: there[there > 0],
            lambda: there.repeat_interleave(there),
            lambda: bool((there > 0).all()),
            there.numpy,
            lambda: float(there[0]),
            lambda: torch.unique_consecutive(there),
        )
        for number, read in enumerate(reads):
            cast("Any", read)()
            assert len(machine.reads) == number + 1, number
        machine.reads.clear()
        here.tolist()
        here.nonzero()
        there.repeat_interleave(there, output_size=4)
        assert not machine.reads


# ------------------------------------------------------------------ the values

SMALL = """model small
table items = vocab(20, 4, l2 = 0.01)
table tags = vocab(9, 3)
space user from request { id: vocab(20, 4), likes: bag(tags, sum), seen: bag(tags, mean) }
space ad from candidate { item: items, tag: tags }
space history[t <= 5] from request { item: items }
joined = concat(user, ad, sum(history, over t))
predict click: binary = joined |> linear(8) |> relu |> linear(1)
"""


def small() -> Graph:
    graph = load_source(Source("small.arec", SMALL), None, {}, report := Report())
    assert graph is not None, [d.message for d in report]
    return on_a_device(graph)


def trained(model: Model, name: str, options: dict[str, Any], tables: str) -> dict[str, Tensor]:
    optimizer = build_optimizer(model, name, options, tables)
    for seed in range(5):
        model.train()
        optimizer.zero_grad(set_to_none=True)
        model.loss(random_batch(model.manifest, 5, seed)).backward()
        clip_gradients(model.parameters(), 0.1)
        optimizer.step()
    return {name: x.detach().clone() for name, x in model.eval().state_dict().items()}


@pytest.mark.parametrize(
    ("name", "options", "tables"),
    [
        ("adam", {"lr": 0.01}, "exact"),
        ("adam", {"lr": 0.01}, "lazy"),
        ("adam", {"lr": 0.01}, "dense"),
        ("adamw", {"lr": 0.01, "weight_decay": 0.1}, "exact"),
        ("sgd", {"lr": 0.1, "momentum": 0.9}, "exact"),
        ("adagrad", {"lr": 0.1}, "exact"),
        ("rmsprop", {"lr": 0.01}, "exact"),
        ("adadelta", {"lr": 1.0}, "exact"),
    ],
)
def test_training_there_is_training_here(name: str, options: dict[str, Any], tables: str) -> None:
    """Rows that a batch names several times move once, though no one counts the distinct ones."""
    graph = small()
    wanted = trained(model_of(replace(graph, devices={}, places={})).double(), name, options, tables)
    model = model_of(graph).double()
    with VirtualDevices() as machine:
        model.place()
        machine.reads.clear()
        found = trained(model, name, options, tables)
        assert not machine.reads
    for path, x in found.items():
        torch.testing.assert_close(x, wanted[path], rtol=1e-9, atol=1e-10, msg=path)


def test_a_batch_that_was_moved_is_not_asked_for_its_lengths() -> None:
    model = model_of(small())
    batch = random_batch(model.manifest, 4, 0)
    with VirtualDevices() as machine:
        moved = batch.to(THERE)
        model.place()
        model(moved)
        assert not machine.reads
        assert not [move for move in machine.moves if move.destination != THERE]
        machine.moves.clear()
        # One that others have moved tensor by tensor is asked once.
        model(pytree.tree_map_only(Tensor, lambda x: x.to(THERE), batch))
        assert not machine.reads
        assert len([move for move in machine.moves if move.destination != THERE]) == 1


# ------------------------------------------------------------------ the feed


def test_what_earlier_batches_were_asked_goes_in_few_copies() -> None:
    model = shipped("dsin")
    batches = Batches(model, 6).held
    with VirtualDevices() as machine, torch.no_grad():
        model.place().eval()
        expected = [model(replace(batch)) for batch in batches]
        copies, found = [], []
        for batch, number in feed(((batch, n) for n, batch in enumerate(batches)), model):
            assert number == len(found)
            found.append(model(batch))
            copies.append(len(machine.moves))
            machine.moves.clear()
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    # Of the first two it is not known yet; afterwards there is one copy of integers.
    assert copies[0] > 5
    assert copies[2:] == [1, 1, 1, 1]


def test_a_model_on_the_cpu_is_fed_as_it_comes() -> None:
    model = model_of(replace(small(), devices={}, places={}))
    batches = Batches(model, 3).held
    assert [batch for batch, _ in feed(((b, None) for b in batches), model)] == batches


def test_what_a_stream_raises_comes_through() -> None:
    model = model_of(small())

    def broken() -> Iterator[tuple[Batch, None]]:
        yield random_batch(model.manifest, 2, 0), None
        raise OSError("no more")

    with VirtualDevices():
        model.place()
        fed = feed(broken(), model)
        next(fed)
        with pytest.raises(OSError, match="no more"):
            next(fed)


def test_a_model_without_places_gets_its_batches_where_it_is() -> None:
    graph = replace(small(), devices={}, places={})
    wanted, model = model_of(graph), model_of(graph)
    batches = Batches(model, 3).held
    with VirtualDevices():
        for weight in model.parameters():
            weight.data = weight.data.to(THERE)
        found = evaluate(model, [replace(batch) for batch in batches])
    expected = evaluate(wanted, batches)
    assert found.results == expected.results
