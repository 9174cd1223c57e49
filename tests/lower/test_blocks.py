"""Chains of kernels that a block of rows goes through together."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from specc.driver import load_source
from specc.ir.graph import Graph
from specc.lower import lower
from specc.lower.parts import read_by
from specc.lower.program import Block, Function
from specc.passes import optimise
from specc.report import Report
from specc.source import Source
from specc.testing.programs import programs
from tests.oracle.constructs import CONSTRUCTS
from tests.oracle.subjects import construct
from tests.specs.small import small

SPECS = ("afm", "din", "dien", "bst", "dsin", "dstn", "atrank")


def of(graph: Graph) -> list[Function]:
    """Both parts of a graph's predictions."""
    parts = lower(optimise(graph, "default")).parts
    assert parts is not None
    return [parts.request, parts.candidate]


def sound(function: Function) -> None:
    """All kernels are there, each behind what it reads; and of a chain all that others read."""
    known = {*function.parameters}
    for block in function.blocks:
        inside = {r for k in block.kernels for r in k.results if r is not None}
        for kernel in block.kernels:
            assert all(x in known for x in read_by(kernel) if x.dtype != "number")
            known.update(r for r in kernel.results if r is not None)
        others = [k for b in function.blocks if b is not block for k in b.kernels]
        read = {x for k in others for x in read_by(k)}.union(function.results)
        if block.rows is None:
            assert len(block.kernels) == 1
            continue
        assert block.most % 6 == 0
        by_row = {x for x in inside & read if x.shape.domain == block.rows}
        assert by_row <= {*block.results} <= inside
    assert known >= {r for k in function.kernels for r in k.results if r is not None}


@pytest.mark.parametrize("name", SPECS)
def test_a_shipped_spec(name: str) -> None:
    for function in of(small(name, {})):
        sound(function)


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_a_construct(name: str) -> None:
    for function in of(construct(name)):
        sound(function)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_a_random_program(text: str) -> None:
    graph = load_source(Source("random.arec", text), None, {}, Report())
    assert graph is not None
    for function in of(graph):
        sound(function)


def chains(text: str) -> list[Block]:
    graph = load_source(Source("given.arec", text), None, {}, Report())
    assert graph is not None
    return [b for function in of(graph) for b in function.blocks if b.rows is not None]


FEED_FORWARD = """
model given
space user from request { id: ids(10, {width}) }
space history[t <= 5] from request { item: ids(10, {width}) }
out = mean(history |> linear({inner}) |> relu |> linear({width}) |> norm, over t)
predict click: binary = concat(user, out) |> linear(1)
"""


def test_a_feed_forward_is_a_chain() -> None:
    """From behind the product of rows that are looked up, which repeat, to the mean over the rows, of which
    nobody reads one."""
    text = FEED_FORWARD.replace("{width}", "8").replace("{inner}", "32")
    (chain, *_) = (c for c in chains(text) if any(k.name == "norm" for k in c.kernels))
    names = [kernel.name for kernel in chain.kernels]
    assert names == ["relu", "linear", "norm", "segment.mean"]
    assert chain.results == []


def test_matrices_that_are_no_room_for_are_read_by_themselves() -> None:
    """Each block would read them again, from beyond the cache."""
    text = FEED_FORWARD.replace("{width}", "128").replace("{inner}", "2048")
    together = [c for c in chains(text) if [k.name for k in c.kernels].count("linear") > 1]
    assert together == []
