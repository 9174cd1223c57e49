"""Loop-invariant code motion: what a scan's step computes without its states, for all steps at once.

Assumes: sources are out of regions already (lift). Promises: the same values; a region holds only
nodes that depend on a state, constants, captures of what they read, and what is not pure (draws).
"""

from __future__ import annotations

from dataclasses import replace

from specc.ir.graph import Graph, Node, axis_of
from specc.ir.prune import prune
from specc.ops import op, pure
from specc.passes.rewrite import Builder, rebuilt, recaptured
from specc.types.axis import Axis, Type, union


def hoist(graph: Graph) -> Graph:
    builder = Builder.of(graph)
    for old in graph.nodes:
        node = builder.updated(old)
        builder.append(_hoisted(node, builder) if node.op == op.SCAN else node)
    return prune(rebuilt(graph, builder))


def _hoisted(scan: Node, builder: Builder) -> Node:
    region, axis = scan.region, axis_of(scan)
    assert region is not None
    assert axis is not None
    inside = {n.id: n for n in region.nodes}
    free = _free(region.nodes)
    moved = [n for n in region.nodes if n.id in free and n.inputs]
    if not moved:
        return scan
    outside = {c: scan.inputs[i] for i, c in enumerate(region.captures)}
    for node in moved:
        outside[node.id] = _moved(node, inside, outside, builder, axis)
    # What stays reads some of what moved: that is captured now.
    read = {i for n in region.nodes if n.id not in free for i in n.inputs} | set(region.nexts)
    captures = [n.id for n in region.nodes if n.id in read and n.id in free and n.op != op.CONSTANT]
    index = {id: number for number, id in enumerate(captures)}
    nodes = [
        replace(inside[id], op=op.CAPTURE, inputs=(), attrs={"index": number}, weights=(), region=None)
        for id, number in index.items()
    ]
    nodes += [n for n in region.nodes if n.id not in index and (n.id not in free or n.op == op.CONSTANT)]
    return recaptured(scan, captures, [outside[c] for c in captures], nodes)


def _free(nodes: tuple[Node, ...]) -> set[int]:
    """The nodes that no state reaches, and that may be computed elsewhere."""
    free: set[int] = set()
    for node in nodes:
        moves = node.region is None and node.inputs and free.issuperset(node.inputs) and pure(node)
        if node.op in (op.CAPTURE, op.CONSTANT) or moves:
            free.add(node.id)
    return free


def _moved(node: Node, inside: dict[int, Node], outside: dict[int, int], builder: Builder, axis: Axis) -> int:
    """A node of the region as a node before the scan, for all positions that it depends on."""
    inputs = []
    for id in node.inputs:
        if id not in outside:
            constant = inside[id]
            outside[id] = builder.add(constant.op, (), constant.type, constant, constant.attrs)
        inputs.append(outside[id])
    whole = any(builder.node(i).type.has(axis) for i in inputs)
    axes = union(*(builder.node(i).type for i in inputs)) if whole else node.type.axes
    kept = tuple(a for a in axes if a in node.type.axes or a == axis or (whole and a == axis.parent))
    type_ = Type(kept, node.type.width) if whole else node.type
    missing = tuple(a for a in node.type.axes if a not in type_.axes)
    if missing:
        type_ = Type(union(Type((*type_.axes, *missing), 1)), node.type.width)
    return builder.add(node.op, tuple(inputs), type_, node, node.attrs, node.weights, node.name)
