"""Products of the same value become one: the gates of a recurrence.

Assumes: nothing. Promises: the same values. Within a scan, linear layers and products that read the
same value are one product with their matrices one below the other, of which each is a slice: a step is
short, and three small products take three times as long as one. Outside, where there are rows enough to
keep a processor busy, products stay apart.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from specc.graph.ir import Graph, Node
from specc.graph.products import products_of, project_attrs
from specc.passes.rewrite import Builder, rebuilt, within


def merge_products(graph: Graph) -> Graph:
    builder = Builder.of(graph)
    for node in graph.nodes:
        builder.append(_with_merged(node, builder))
    return rebuilt(graph, builder)


def _with_merged(node: Node, builder: Builder) -> Node:
    if node.region is None:
        return node
    inside = builder.inside()
    nodes = node.region.nodes
    together: dict[int, list[Node]] = defaultdict(list)
    for inner in nodes:
        if inner.op in ("linear", "project"):
            together[inner.inputs[0]].append(inner)
    first = {group[0].id: group for group in together.values() if len(group) > 1}
    later = {n.id for group in first.values() for n in group[1:]}
    for inner in nodes:
        if inner.id in first:
            _stack(first[inner.id], inside)
        elif inner.id not in later:
            inside.append(_with_merged(inside.updated(inner), builder))
    return replace(node, region=within(node, inside))


def _stack(group: list[Node], builder: Builder) -> None:
    """One product for all, and a slice of it for each."""
    source = builder.now(group[0].inputs[0])
    width = builder.node(source).type.width
    products = tuple(p for node in group for p in products_of(node, width))
    type_ = group[0].type.with_width(sum(p.width for p in products))
    whole = builder.add("project", (source,), type_, group[0], *project_attrs(products))
    start = 0
    for node in group:
        cut = {"start": start, "stop": start + node.type.width}
        builder.stand_for(node, builder.add("slice", (whole,), node.type, node, cut, name=node.name))
        start += node.type.width
