"""Placed models, on virtual devices: the values of the unplaced model, and no move but those of the plan.

On a machine with an accelerator the same is done on that.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from specc.driver import load, load_source
from specc.emit import emit
from specc.ir.graph import Graph
from specc.ir.prune import prune
from specc.passes import optimise
from specc.passes.placement import Move, check_places, moves, placeable
from specc.report import Report
from specc.source import Source
from specc.testing.batches import random_batch
from specc.testing.programs import programs
from specc.testing.virtual import MixedDevices, VirtualDevices
from specc_runtime import Bag, Batch, Model, from_texts
from specc_runtime.devices import available
from specc_runtime.elsewhere import tensors_of

SPECS = Path(__file__).parents[2] / "specs"
SEVEN = ("afm", "atrank", "bst", "dien", "din", "dsin", "dstn")
DEVICES = {"a": "cpu", "b": "meta:0", "c": "meta:1", "d": "meta:2"}


def graph_of(spec: str) -> Graph:
    graph, report = load(SPECS / f"{spec}.arec", {})
    assert graph is not None, list(report)
    return small(graph)


def small(graph: Graph) -> Graph:
    """The graph with short tables: what is looked up is not the question here."""
    weights = {
        path: replace(w, shape=(min(w.shape[0], 50), *w.shape[1:])) if w.kind == "table" else w
        for path, w in graph.weights.items()
    }
    return replace(graph, weights=weights, places={}, devices={}, place_spans={})


def with_places(graph: Graph, places: Mapping[str, str]) -> Graph:
    return replace(graph, devices=DEVICES, places=dict(places))


def contradictory(graph: Graph) -> bool:
    report = Report()
    check_places(graph, report)
    return report.has_errors


def model_of(graph: Graph) -> Model:
    torch.manual_seed(1)
    return from_texts(emit(optimise(graph)), graph.name)


def all_outputs(model: Model, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(2)  # for dropout
    found = {f"predicted {name}": x for name, x in model(batch).items()}
    if batch.candidates is None:
        torch.manual_seed(2)
        found |= {f"loss {name}": x for name, x in model.losses(batch).items()}
    torch.manual_seed(2)
    return found | {f"attention {name}": x.values for name, x in model.attention(batch).items()}


def assert_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert set(found) == set(wanted)
    for name, x in found.items():
        torch.testing.assert_close(x.detach().cpu(), wanted[name].detach(), rtol=1e-9, atol=1e-12, msg=name)


def assert_same_gradients(found: Model, wanted: Model) -> None:
    for (name, x), (_, y) in zip(found.named_parameters(), wanted.named_parameters(), strict=True):
        assert (x.grad is None) == (y.grad is None), name
        if x.grad is not None and y.grad is not None:
            torch.testing.assert_close(x.grad.cpu(), y.grad, rtol=1e-9, atol=1e-12, msg=name)


def check_on_virtual_devices(graph: Graph, places: Mapping[str, str], seed: int) -> None:
    """Values and gradients of the unplaced model, and the moves of the plan."""
    wanted = model_of(graph).double()
    placed = with_places(graph, places)
    model = model_of(placed).double()
    batches = [
        random_batch(wanted.manifest, 4, seed, longest=8),
        random_batch(wanted.manifest, 2, seed, longest=8, candidates=True),
    ]
    with VirtualDevices():
        model.place()
        for batch in batches:
            assert_same(all_outputs(model, batch), all_outputs(wanted, batch))
        torch.manual_seed(3)
        model.loss(fresh(batches[0])).backward()
    torch.manual_seed(3)
    wanted.loss(fresh(batches[0])).backward()
    assert_same_gradients(model, wanted)
    check_moves(placed, model, seed)


def check_moves(placed: Graph, model: Model, seed: int) -> None:
    """With every sequence at its bound, what moves is to the byte what the plan says."""
    batch = random_batch(model.manifest, 2, seed, full=True)
    with VirtualDevices() as machine:
        model.float().place()
        machine.moves.clear()
        model.losses(batch)
        beside = indices(model, batch)
    graph = optimise(placed)
    # What only an attention's record needs does not move for the losses.
    plan = moves(prune(replace(graph, attentions=())))
    planned = Counter(k for m in plan for k in keys(m, batch) if not m.value.startswith("length of "))
    lengths = Counter(k for m in plan for k in keys(m, batch) if m.value.startswith("length of "))
    found = Counter((m.origin, m.destination, m.bytes) for m in machine.moves if m.shape)
    assert not planned - found, f"planned and not done: {planned - found}"
    beside += lengths
    assert not found - planned - beside, f"done and not planned: {found - planned - beside}"


def indices(model: Model, batch: Batch) -> Counter[tuple[torch.device, torch.device, int]]:
    """What the host worked out of the batch's lengths, and moved to the devices of a model."""
    return Counter(
        (torch.device("cpu"), device, x.numel() * x.element_size())
        for device in {model.device(name) for name in DEVICES} - {batch.device}
        for x in tensors_of(list(batch.layout_on(device).plans.values()))
    )


def keys(move: Move, batch: Batch) -> list[tuple[torch.device, torch.device, int]]:
    """Origin, destination and bytes of a move; a bag moves ids, how many each row has, and their weights."""
    origin = torch.device("cpu" if move.origin == "batch" else DEVICES[move.origin])
    destination = torch.device(DEVICES[move.destination])
    values = batch.fields.get(move.value) if move.origin == "batch" else None
    if isinstance(values, Bag):
        parts = (values.values, values.lengths, values.weights)
        return [(origin, destination, x.numel() * x.element_size()) for x in parts if x is not None]
    size = move.bytes if move.once else move.bytes * batch.size
    for axis in move.type.axes:
        if axis.kind == "batch":  # the plan takes it to be as long as the recipe's batch
            assert axis.size is not None
            size = size // axis.size * batch.size
    return [(origin, destination, size)]


def fresh(batch: Batch) -> Batch:
    """The same batch, of which nothing has moved yet."""
    return replace(batch)


def some_places(graph: Graph, draw: random.Random) -> dict[str, str]:
    names = sorted(placeable(graph))
    places = {name: draw.choice("abcd") for name in draw.sample(names, min(len(names), 6))}
    return {"rest": draw.choice("abcd"), **places}


# ------------------------------------------------------------------ the seven


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("spec", SEVEN)
def test_the_seven_on_virtual_devices(spec: str, seed: int) -> None:
    graph = graph_of(spec)
    draw = random.Random(f"{spec} {seed}")
    places = next(
        p for p in iter(lambda: some_places(graph, draw), None) if not contradictory(with_places(graph, p))
    )
    check_on_virtual_devices(graph, places, seed)


@pytest.mark.parametrize("spec", SEVEN)
def test_tables_on_the_host_and_the_rest_on_an_accelerator(spec: str) -> None:
    check_on_virtual_devices(graph_of(spec), {"tables": "a", "rest": "b"}, 7)


# ------------------------------------------------------------ generated specs


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=15)
@given(text=programs(), seed=st.integers(0, 2**16))
def test_generated_specs_on_virtual_devices(text: str, seed: int) -> None:
    report = Report()
    graph = load_source(Source("generated.arec", text), None, {}, report)
    assert graph is not None, [d.message for d in report]
    graph = small(graph)
    places = some_places(graph, random.Random(seed))
    assume(not contradictory(with_places(graph, places)))
    check_on_virtual_devices(graph, places, seed)


# ------------------------------------------------------- the virtual machine


def test_a_missing_move_is_caught() -> None:
    with VirtualDevices():
        there = torch.ones(3, device="meta:0", requires_grad=True)
        with pytest.raises(MixedDevices, match=r"aten.mul"):
            there * torch.ones(3)
        assert (there * torch.tensor(2.0)).device == torch.device("meta:0")  # a number goes along


def test_moves_are_recorded_forward_and_back() -> None:
    with VirtualDevices() as machine:
        here = torch.ones(3, requires_grad=True)
        there = here.to("meta:1")
        assert there.device == torch.device("meta:1")
        (there * 2).sum().to("cpu").backward()
        assert here.grad is not None
        assert here.grad.device == torch.device("cpu")
    assert [(m.origin.type, m.destination.type, m.shape, m.back) for m in machine.moves] == [
        ("cpu", "meta", (3,), False),
        ("meta", "cpu", (), False),
        ("cpu", "meta", (), True),
        ("meta", "cpu", (3,), True),
    ]
    assert machine.moves[0].bytes == 12


# ---------------------------------------------------------- real accelerators


@pytest.mark.skipif(len(available()) < 2, reason="this machine has no accelerator")
@pytest.mark.parametrize("spec", SEVEN)
def test_the_seven_on_this_machines_accelerator(spec: str) -> None:
    graph = graph_of(spec)
    targets = available()
    devices = {name: targets[min(i, len(targets) - 1)] for i, name in enumerate(DEVICES)}
    wanted = model_of(graph).double()
    draw = random.Random(spec)
    for places in ({"tables": "a", "rest": "b"}, some_places(graph, draw), some_places(graph, draw)):
        placed = with_places(graph, places)
        if contradictory(placed):
            continue
        model = model_of(replace(placed, devices=devices)).double().place()
        batch = random_batch(wanted.manifest, 4, 1, longest=8)
        torch.testing.assert_close(
            {k: v.detach().cpu() for k, v in model(batch).items()},
            {k: v.detach() for k, v in wanted(batch).items()},
        )
        wanted.zero_grad()
        model.loss(fresh(batch)).backward()
        wanted.loss(fresh(batch)).backward()
        for (name, x), (_, y) in zip(model.named_parameters(), wanted.named_parameters(), strict=True):
            assert (x.grad is None) == (y.grad is None), name
            if x.grad is not None and y.grad is not None:
                torch.testing.assert_close(x.grad.cpu(), y.grad)
