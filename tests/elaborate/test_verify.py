"""The verifier lets sound graphs pass, and no graph with one thing wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from specc.ir.graph import Graph, Node
from specc.ir.verify import GraphError, verify
from specc.passes import optimise
from specc.types.axis import Axis, Type
from tests.oracle.constructs import CONSTRUCTS
from tests.oracle.subjects import construct

STRANGE = Axis(("static", "strange", 2, ""), "strange", 2, 2)
EACH = pytest.mark.parametrize("name", CONSTRUCTS)
WAYS = ("none", "default")


def with_node(graph: Graph, changed: Node) -> Graph:
    """The graph with one node, wherever it is, in place of the one of its id."""

    def within(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(changed if n.id == changed.id else inside(n) for n in nodes)

    def inside(node: Node) -> Node:
        if node.region is None:
            return node
        return replace(node, region=replace(node.region, nodes=within(node.region.nodes)))

    return graph.with_nodes(within(graph.nodes))


def everywhere(nodes: tuple[Node, ...]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if node.region is not None:
            yield from everywhere(node.region.nodes)


def refused(graph: Graph) -> bool:
    try:
        verify(graph)
    except GraphError:
        return True
    return False


@EACH
@pytest.mark.parametrize("passes", WAYS)
def test_another_width_or_axis_is_refused(name: str, passes: str) -> None:
    graph = optimise(construct(name), passes)
    verify(graph)
    for node in everywhere(graph.nodes):
        wider = replace(node, type=node.type.with_width(node.type.width + 1))
        assert refused(with_node(graph, wider)), node
        longer = replace(node, type=Type((*node.type.axes, STRANGE), node.type.width))
        assert refused(with_node(graph, longer)), node


@EACH
@pytest.mark.parametrize("passes", WAYS)
def test_a_missing_input_weight_or_attribute_is_refused(name: str, passes: str) -> None:
    graph = optimise(construct(name), passes)
    for node in everywhere(graph.nodes):
        if node.inputs:
            assert refused(with_node(graph, replace(node, inputs=(10**6, *node.inputs[1:])))), node
        if node.weights:
            assert refused(with_node(graph, replace(node, weights=("nowhere", *node.weights[1:])))), node
        for key in node.attrs:
            attrs = {k: v for k, v in node.attrs.items() if k != key}
            assert refused(with_node(graph, replace(node, attrs=attrs))), node


@EACH
def test_a_node_too_late_or_twice_is_refused(name: str) -> None:
    graph = construct(name)
    needed = {i for n in graph.nodes for i in n.inputs}
    first = next(n for n in graph.nodes if n.id in needed)
    late = tuple(n for n in graph.nodes if n is not first)
    assert refused(graph.with_nodes((*late, first)))
    assert refused(graph.with_nodes(late))
    assert refused(graph.with_nodes((*graph.nodes, first)))


def test_a_prediction_that_is_gone_is_refused() -> None:
    graph = construct("tasks")
    gone = replace(graph.predictions[0], node=10**6)
    assert refused(replace(graph, predictions=(gone, *graph.predictions[1:])))
    wrong = replace(graph.predictions[0], node=graph.predictions[2].node)
    assert refused(replace(graph, predictions=(wrong, *graph.predictions[1:])))


def test_a_weight_by_another_name_is_refused() -> None:
    graph = construct("fields")
    path, weight = next(iter(graph.weights.items()))
    with pytest.raises(GraphError, match=r"fields\.arec:\d+"):
        verify(replace(graph, weights={**graph.weights, path: replace(weight, path="other")}))
