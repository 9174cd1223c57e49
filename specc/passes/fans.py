"""Parallel layers of a stack batched into one.

    stack(f(a), f(b))            = f(stack(a, b))
    stack(W1 x + b1, W2 x + b2)  = split([W1; W2] x + [b1; b2])
    stack(W1 a, W2 b)            = heads(stack(a, b))

Assumes: nothing. Promises: the same values. What `fan` writes as n layers with their own weights is
computed by one product. Only of values that nothing else reads.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from specc.ir.graph import Graph, Node, walk
from specc.ops import op, pure, traits
from specc.ops.products import Slab, products_of, project_attrs
from specc.passes.rewrite import Builder, rewrite
from specc.types.axis import Axis, Type, union


def join_fans(graph: Graph) -> Graph:
    uses = Counter(i for node in walk(graph.nodes) for i in node.inputs)
    heights = {path: w.shape[0] for path, w in graph.weights.items()}

    def rule(node: Node, builder: Builder) -> int | None:
        if node.op != op.STACK or any(uses[i] > 1 for i in node.inputs) or len(set(node.inputs)) < 2:
            return None
        return _joined(node, builder, heights, uses)

    return rewrite(graph, rule)


def _joined(node: Node, builder: Builder, heights: dict[str, int], uses: Counter[int]) -> int | None:
    parts = [builder.node(i) for i in node.inputs]
    first, axis = parts[0], node.attrs["axis"]
    if any(p.op != first.op or p.attrs != first.attrs or p.type != first.type for p in parts):
        return None
    if traits(first).pointwise and len(first.inputs) == 1 and pure(first):
        inner = _inner(node, builder, parts, axis, heights, uses)
        return builder.add(first.op, (inner,), node.type, first, first.attrs, name=node.name)
    if first.op != op.LINEAR:
        return None
    return _layers(node, builder, parts, axis, heights, uses)


def _inner(
    node: Node, builder: Builder, parts: list[Node], axis: Axis, heights: dict[str, int], uses: Counter[int]
) -> int:
    """The stack of the parts' inputs, joined itself if it can be."""
    inputs = tuple(p.inputs[0] for p in parts)
    sources = [builder.node(i).type for i in inputs]
    type_ = Type(union(*sources, Type((axis,), 1)), sources[0].width)
    stacked = Node(
        next(builder.ids), op.STACK, inputs, type_, node.span, node.attrs, (), node.scope, role=node.role
    )
    if all(uses[i] == 1 for i in inputs):
        found = _joined(stacked, builder, heights, uses)
        if found is not None:
            return found
    return builder.append(stacked)


def _layers(
    node: Node, builder: Builder, parts: list[Node], axis: Axis, heights: dict[str, int], uses: Counter[int]
) -> int | None:
    biased = {len(p.weights) for p in parts}
    if len(biased) > 1:
        return None
    if len({p.inputs[0] for p in parts}) == 1:
        x = builder.node(parts[0].inputs[0])
        products = tuple(q for p in parts for q in products_of(p, x.type.width))
        attrs, weights = project_attrs(products)
        type_ = Type(x.type.axes, sum(q.width for q in products))
        whole = builder.add(op.PROJECT, (x.id,), type_, parts[0], attrs, weights)
        return builder.add(op.SPLIT, (whole,), node.type, node, {"axis": axis}, name=node.name)
    if biased == {2}:
        return None
    inner = _inner(node, builder, parts, axis, heights, uses)
    slabs = tuple(Slab(p.weights[0], 0, heights[p.weights[0]]) for p in parts)
    matrices = tuple(p.weights[0] for p in parts)
    attrs = {"axis": axis, "slabs": slabs, "transposed": False}
    return builder.add(op.HEADS, (inner,), node.type, replace(node), attrs, matrices, name=node.name)
