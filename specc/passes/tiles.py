"""Pairs of fields, a few examples at a time.

Assumes: nothing. Promises: the same values. What is computed from all pairs of a static axis, up to
where the pairs are summed up again, becomes one `tiled` operation: the products of pairs are as many as
the square of the fields, and for a whole batch they are read from and written to memory over and over;
a few examples' stay in the processor's cache, and are computed again for the gradient rather than kept.
"""

from __future__ import annotations

from dataclasses import replace

from specc.graph.ir import Graph, Node, Region
from specc.graph.prune import prune
from specc.passes.rewrite import Builder, needed_by_outputs, rebuilt
from specc.types.axis import Axis

# Draws and running statistics are of the whole batch.
_WHOLE = frozenset({"batch_norm", "dice", "dropout", "scan", "recurrence", "scan_out"})


def tile_pairs(graph: Graph) -> Graph:
    for node in graph.nodes:
        if node.op == "pairs":
            graph = _tiled(graph, node)
    return prune(graph)


def _tiled(graph: Graph, pairs: Node) -> Graph:
    """The graph with everything along one axis of pairs in a region."""
    axis = pairs.attrs["axis"]
    assert isinstance(axis, Axis)
    if any(a.ragged for a in pairs.type.axes):
        return graph
    needed = needed_by_outputs(graph)
    inside = [pairs]
    ids = {pairs.id}
    for node in graph.nodes:
        if node.id in needed and node.type.has(axis) and ids.intersection(node.inputs):
            inside.append(node)
            ids.add(node.id)
    ends = [n for n in graph.nodes if n.id in needed and n.id not in ids and ids.intersection(n.inputs)]
    inside += ends
    if len(ends) != 1 or ends[0].type.has(axis) or any(n.op in _WHOLE for n in inside):
        return graph
    if ids.intersection(graph.outputs) or len(inside) < 3:
        return graph
    return _replaced(graph, inside, ends[0], axis)


def _replaced(graph: Graph, inside: list[Node], end: Node, axis: Axis) -> Graph:
    builder = Builder.of(graph)
    own = {n.id for n in inside}
    constants = {i for n in inside for i in n.inputs if graph.node(i).op == "constant"}
    given = tuple(dict.fromkeys(i for n in inside for i in n.inputs if i not in own | constants))
    for node in graph.nodes:
        if node.id != end.id:
            builder.append(builder.updated(node))
            continue
        body = builder.inside()
        for number, id in enumerate(given):
            like = graph.node(id)
            captured = Node(
                next(body.ids), "capture", (), like.type, like.span, {"index": number}, (), like.scope,
                role=like.role,
            )  # fmt: skip
            body.renamed[id] = body.append(captured)
        captures = tuple(body.renamed[id] for id in given)
        for inner in (*(graph.node(i) for i in sorted(constants)), *inside):
            copy = replace(body.updated(inner), id=next(body.ids))
            body.renamed[inner.id] = body.append(copy)
        region = Region(tuple(body.nodes), captures, (), (), (body.now(end.id),))
        tiled = builder.add("tiled", given, end.type, end, {"axis": axis}, name=end.name)
        place = next(i for i, n in enumerate(builder.nodes) if n.id == tiled)
        builder.nodes[place] = replace(builder.nodes[place], region=region)
        builder.renamed[end.id] = tiled
    return rebuilt(graph, builder)
