"""The optimising passes: what each does to a small graph, as text, and that the result is sound.

`AREC_UPDATE_GOLDEN=1 pytest tests/passes` writes the texts anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from specc.driver import load
from specc.ir.graph import Graph, walk
from specc.ir.print import print_graph
from specc.passes.appended import part_appended
from specc.passes.attention import recognise_attention
from specc.passes.contract import contract
from specc.passes.contractions import contract_sums
from specc.passes.distribute import distribute
from specc.passes.fans import join_fans
from specc.passes.fold import fold
from specc.passes.hoist import hoist
from specc.passes.lift import lift_sources
from specc.passes.lookups import fuse_lookups
from specc.passes.merge import merge_products
from specc.passes.placement import place
from specc.passes.positions import choose_positions
from specc.passes.reading import read_by_position
from specc.passes.recurrence import compile_recurrences
from specc.passes.roles import assign_roles
from specc.passes.share import share
from specc.passes.tiles import tile

HERE = Path(__file__).parent
Pass = Callable[[Graph], Graph]

# By name of a golden text: its spec, what runs before, and the pass it shows.
CASES: dict[str, tuple[str, Sequence[Pass], Pass]] = {
    "appended": ("appended", (), part_appended),
    "fold": ("share", (), fold),
    "share": ("share", (fold,), share),
    "positions": ("positions", (fold,), choose_positions),
    "distribute": ("distribute", (fold,), distribute),
    "distribute_in_scan": ("recurrence", (fold,), distribute),
    "distribute_over_all_but_one": ("next", (fold, share), distribute),
    "hoist": ("recurrence", (fold, distribute), hoist),
    "merge": ("recurrence", (fold, distribute, hoist, share), merge_products),
    "recurrence": ("recurrence", (fold, distribute, hoist, share, merge_products), compile_recurrences),
    "attention": ("attention", (fold,), recognise_attention),
    "fans": ("fans", (fold, share), join_fans),
    "contract": ("contract", (fold, share, choose_positions), contract),
    "contract_heads": ("fans", (fold, share, join_fans), contract),
    "attention_of_one_query": ("contract", (fold, share, choose_positions, contract), recognise_attention),
    "lookups": ("lookups", (fold, place), fuse_lookups),
    "tiles": ("tiles", (), tile),
    "contractions": ("contractions", (fold,), contract_sums),
    "reading": ("reading", (fold, share), read_by_position),
    "tiles_of_rows": ("distribute", (fold, distribute), tile),
}


def graph_of(spec: str) -> Graph:
    graph, report = load(HERE / "specs" / f"{spec}.arec", {})
    assert graph is not None, list(report)
    return assign_roles(lift_sources(graph))


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_a_pass_does(name: str) -> None:
    spec, before, shown = CASES[name]
    graph = graph_of(spec)
    for step in before:
        graph = step(graph)
    text = f"-- before\n{print_graph(graph)}\n-- after\n{print_graph(shown(graph))}"
    path = HERE / "golden" / f"{name}.txt"
    if os.environ.get("AREC_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_pass_that_has_run_finds_nothing_more(name: str) -> None:
    spec, before, shown = CASES[name]
    graph = graph_of(spec)
    for step in (*before, shown):
        graph = step(graph)
    assert [n.op for n in walk(shown(graph).nodes)] == [n.op for n in walk(graph.nodes)]


@pytest.mark.parametrize("name", sorted(CASES))
def test_inputs_come_first_and_roles_hold(name: str) -> None:
    spec, before, shown = CASES[name]
    graph = graph_of(spec)
    for step in (*before, shown):
        graph = step(graph)
    seen: set[int] = set()
    for node in graph.nodes:
        assert seen.issuperset(node.inputs)
        seen.add(node.id)
    ids = [n.id for n in walk(graph.nodes)]
    assert len(ids) == len(set(ids))
    again = assign_roles(graph)
    assert {n.id: n.role for n in again.nodes} == {n.id: n.role for n in graph.nodes}
    assert {path for n in walk(graph.nodes) for path in n.weights} == set(graph.weights)
