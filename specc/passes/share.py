"""Common subexpression elimination: what is computed twice from the same values is computed once.

Assumes: nothing. Promises: no two nodes of one region have the same operation, inputs, attributes and
weights, unless more than these decides their value (draws, statistics of a batch, what nobody has told).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.ir.graph import Graph, Node
from specc.ops import pure, traits
from specc.passes.rewrite import Builder, rewrite


def share(graph: Graph) -> Graph:
    # By builder, not by its id, which another region's may have once it is gone.
    known: dict[Builder, dict[Any, int]] = {}

    def rule(node: Node, builder: Builder) -> int | None:
        if node.region is not None or not pure(node):
            return None
        # A region's nodes are only equal to others of the same region.
        return known.setdefault(builder, {}).setdefault(_key(node), node.id)

    def kept(node: Node, builder: Builder) -> int | None:
        found = rule(node, builder)
        return None if found == node.id else found

    return rewrite(graph, kept)


def _key(node: Node) -> Any:
    inputs = tuple(sorted(node.inputs)) if traits(node).commutative else node.inputs
    return node.op, inputs, _frozen(node.attrs), node.weights, node.type


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(sorted((k, _frozen(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return tuple(_frozen(v) for v in value)
    return value
