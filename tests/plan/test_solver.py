"""Plans: placements that fit where there is one, and what is missing where there is none."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specc.devices import Placement, to_lines, with_placement
from specc.driver import load_source
from specc.ir.graph import Graph
from specc.passes import before_places, optimise
from specc.passes.placement import REST, device_of_weight, place
from specc.plan.lengths import Lengths
from specc.plan.memory import predict
from specc.plan.sizes import devices
from specc.plan.solver import assign, plan_as_placed, propose
from specc.plan.task import Plan, Task, Unit
from specc.report import Report
from specc.source import Source

SPEC = """
model big
param n_items = 1_000_000
param dim = 16
table items = vocab(n_items, dim)
table cats = vocab(10_000, dim)
space user from request { id: vocab(500_000, dim), age: number(standard) }
space ad from candidate { item: items, cat: cats }
space history[t <= 100] from request { item: items, cat: cats }
joined = concat(user, ad, sum(history, over t))
predict click: binary = joined |> linear(80) |> relu |> linear(1)
train { optimizer = adam(lr = 0.001), batch = 64, epochs = 1 }
"""
PLACED = """
device host = "cpu"
device dense = "auto"
place items on host
place joined on dense
place rest on dense
"""


def graph_of(text: str = SPEC, **params: int) -> Graph:
    report = Report()
    graph = load_source(Source("big.arec", text), None, params, report)
    assert graph is not None, [d.message for d in report]
    return before_places(replace(graph, places={}, devices={}) if text == SPEC else replace(graph, places={}))


def planned(sizes: str, text: str = SPEC, task: Task | None = None, **params: int) -> Plan:
    return propose(graph_of(text, **params), devices(sizes), task or Task(64, Lengths()))


def homes(plan: Plan) -> dict[str, str]:
    """By table its device's target."""
    where = device_of_weight(plan.graph)
    return {w.owner: plan.devices[where[p]] for p, w in plan.graph.weights.items() if w.kind == "table"}


def test_what_fits_on_one_accelerator_is_there() -> None:
    plan = planned("cpu=64GB,cuda:0=80GB,cuda:1=80GB")
    assert plan.fits
    assert set(plan.devices.values()) == {"cuda:0"}
    assert set(homes(plan).values()) == {"cuda:0"}


def test_a_table_that_is_too_large_for_the_accelerator_is_in_the_hosts_memory() -> None:
    plan = planned("cuda:0=300MB,cpu=64GB", n_items=10_000_000)
    assert plan.fits
    assert homes(plan) == {"items": "cpu", "cats": "cuda:0", "user.id": "cuda:0"}
    assert plan.places == {"items": "host", "rest": "cuda_0"}


def test_another_accelerator_goes_before_the_host() -> None:
    plan = planned("cpu=640GB,cuda:0=2.95GB,cuda:1=2.95GB", n_items=15_000_000)
    assert plan.fits
    assert homes(plan)["user.id"] == "cuda:1"


def test_what_is_read_little_moves_before_what_is_read_much() -> None:
    # Either table leaves room enough; the one with a hundred rows an example stays.
    plan = planned("cuda:0=250MB,cuda:1=250MB")
    assert plan.fits
    assert homes(plan)["user.id"] == "cuda:1"
    assert homes(plan)["items"] == "cuda:0"


def test_the_loads_of_a_plan_fit_its_devices() -> None:
    plan = planned("cuda:0=260MB,cuda:1=60MB,cpu=1GB")
    assert plan.fits
    for name, load in plan.loads["training"].items():
        assert load.total <= plan.capacities[name]
    assert plan.loads["training"] == predict(plan.graph, 64, Lengths(), "training")
    assert sum(x.tables for x in plan.loads["training"].values()) == 4 * 16 * (1_000_000 + 10_000 + 500_000)


def test_scoring_needs_no_optimizer() -> None:
    sizes = "cuda:0=120MB"
    assert not planned(sizes).fits
    assert planned(sizes, task=Task(64, Lengths(), "scoring")).fits


def test_a_table_larger_than_any_device_is_named_with_what_would_help() -> None:
    plan = planned("cuda:0=8GB,cuda:1=8GB,cuda:2=8GB,cuda:3=8GB", n_items=100_000_000)
    assert not plan.fits
    (problem,) = plan.problems
    assert problem.name == "items"
    assert problem.needs > 19.2e9
    assert problem.has == 8 * 10**9
    assert "6.4 GB of rows, 12.8 GB of adam's state" in problem.text
    assert "the largest, cuda:0, has 8 GB" in problem.text
    helps = " / ".join(problem.helps)
    assert "in 3 shards by row" in helps
    assert "cpu=20GB" in helps
    assert "hash(41_000_000, 16)" in helps
    assert "for scoring alone it takes 6.4 GB" in helps


def test_a_table_larger_than_all_devices_together() -> None:
    (problem,) = planned("cuda:0=8GB,cpu=8GB", n_items=100_000_000).problems
    assert "too large; it fits in 3 shards of 8 GB" in problem.helps[0]


def test_tables_that_only_together_are_too_much() -> None:
    (problem,) = planned("cuda:0=200MB").problems
    assert "in all" in problem.text
    assert "find no room" in problem.text


def test_activations_that_are_too_much_say_what_batch_would_fit() -> None:
    plan = planned("cuda:0=400MB", task=Task(8192, Lengths()))
    assert not plan.fits
    (help_,) = [h for p in plan.problems for h in p.helps if "a batch of" in h]
    fitting = int(help_.split("a batch of ")[1].split()[0])
    assert planned("cuda:0=400MB", task=Task(fitting, Lengths())).fits


def test_only_a_cpu() -> None:
    plan = planned("cpu=8GB")
    assert plan.fits
    assert set(homes(plan).values()) == {"cpu"}


def test_what_is_fixed_stays() -> None:
    sizes = devices("cuda:0=80GB,cuda:1=80GB,cpu=8GB")
    plan = propose(graph_of(), sizes, Task(64, Lengths()), {"cats": "cpu", "rest": "cuda:1"})
    assert plan.fits
    assert homes(plan) == {"cats": "cpu", "items": "cuda:1", "user.id": "cuda:1"}


def test_devices_have_the_names_that_the_spec_gives_them() -> None:
    report = Report()
    graph = load_source(Source("big.arec", SPEC + PLACED), None, {}, report)
    assert graph is not None
    plan = propose(graph, devices("auto=300MB,cpu=8GB"), Task(64, Lengths()))
    assert set(plan.devices) <= {"host", "dense"}
    # What the spec says otherwise is said anew, so that nothing of it is left.
    assert set(graph.places) <= set(plan.places)


@pytest.mark.parametrize("sizes", ["cuda:0=80GB", "cuda:0=260MB,cuda:1=60MB,cpu=1GB", "cuda:0=100MB,cpu=1GB"])
def test_a_plan_is_lines_that_the_spec_can_have_and_overrides_what_it_has(sizes: str) -> None:
    plan = planned(sizes)
    report = Report()
    again = load_source(Source("big.arec", SPEC + to_lines(plan.graph)), None, {}, report)
    assert again is not None
    assert device_of_weight(optimise(again)) == device_of_weight(plan.graph)
    spec = load_source(Source("big.arec", SPEC + PLACED), None, {}, report)
    assert spec is not None
    proposed = propose(spec, devices(sizes), Task(64, Lengths()))
    over = with_placement(spec, Placement(proposed.devices, proposed.places), report)
    assert not report.has_errors
    placed = place(over)
    targets = {p: placed.devices[d] for p, d in device_of_weight(placed).items()}
    assert targets == {p: proposed.devices[d] for p, d in device_of_weight(proposed.graph).items()}


def test_a_spec_as_it_is_placed() -> None:
    report = Report()
    graph = load_source(Source("big.arec", SPEC + PLACED), None, {}, report)
    assert graph is not None
    plan = plan_as_placed(graph, devices("cpu=100MB"), Task(64, Lengths()))
    assert plan.places == graph.places
    assert [p.name for p in plan.problems] == ["host"]
    assert plan_as_placed(graph, [], Task(64, Lengths())).fits


# ------------------------------------------------------------------ the search


def flow_of(given: list[Unit]) -> nx.DiGraph[str]:
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_node(REST)
    for unit in given:
        flow.add_edge(unit.name, REST, bytes=unit.traffic)
    return flow


def cost(where: dict[str, str], given: list[Unit]) -> int:
    way = {"home": 0, "cuda:1": 1, "cuda:2": 1, "cpu": 4}
    return sum(way[where[u.name]] * u.traffic for u in given)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=5),
    st.tuples(*[st.integers(0, 20)] * 4),
)
def test_the_search_finds_the_cheapest_that_fits(
    tables: list[tuple[int, int]], room: tuple[int, ...]
) -> None:
    units = [Unit(f"t{i}", (), size, traffic) for i, (size, traffic) in enumerate(tables)]
    rooms = dict(zip(("home", "cuda:1", "cuda:2", "cpu"), room, strict=True))
    where, left_over = assign(units, rooms, "home", flow_of(units), {})
    possible = []
    for targets in product(rooms, repeat=len(units)):
        used = dict.fromkeys(rooms, 0)
        for unit, target in zip(units, targets, strict=True):
            used[target] += unit.bytes
        if all(used[t] <= rooms[t] for t in rooms):
            possible.append(cost(dict(zip((u.name for u in units), targets, strict=True)), units))
    assert set(where) == {u.name for u in units}
    assert bool(possible) == (not left_over)
    if possible:
        assert cost(where, units) == min(possible)


def test_many_tables_are_placed_in_time() -> None:
    units = [Unit(f"t{i:03}", (), 10 + i * 7 % 13, i * 5 % 11) for i in range(200)]
    where, left_over = assign(
        units, {"home": 900, "cuda:1": 900, "cuda:2": 900, "cpu": 1000}, "home", flow_of(units), {}
    )
    assert len(where) == 200
    assert not left_over
