"""Several lookups as one operation.

Assumes: nodes have devices (place), and all other passes are done. Promises: the same values and gradients;
no value changes its device, and no more transfers.

* Fields with the same rows that are concatenated or stacked, with tables on one device, become one `lookup`,
  which writes each table row to its final place. Their transfers become one. A field that something else
  reads too stays.
* Other fields that share a table become `lookup`s too. Lowering makes one call of all lookups of a function
  that have tables in common, so that a table gets one gradient; what only a loss reads is still not looked up
  for predictions.

Leaves the maximum of a bag (`max`), which is no sum of rows, to `embed_bag`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from specc.ir.graph import Graph, Node, readings
from specc.ir.prune import prune
from specc.ops import op
from specc.passes.rewrite import Builder, rebuilt, uses_of
from specc.types.axis import Type


def fuse_lookups(graph: Graph) -> Graph:
    return _of_shared_tables(_side_by_side(graph))


# ---------------------------------------------------------------- side by side


def _side_by_side(graph: Graph) -> Graph:
    uses = uses_of(graph)
    builder = Builder.of(graph)
    for old in graph.nodes:
        node = builder.updated(old)
        if old.op in (op.CONCAT, op.STACK):
            runs = [list(run) for _, run in groupby(old.inputs, lambda i: _kind(graph, i, uses))]
            if old.op == op.STACK and len(runs) == 1 and _joins(graph, runs[0], uses):
                joined = _joined(graph, builder, old, runs[0])
                builder.stand_for(old, builder.add(op.SPLIT, (joined,), old.type, old, old.attrs))
                continue
            if old.op == op.CONCAT and any(_joins(graph, run, uses) for run in runs):
                inputs: list[int] = []
                for run in runs:
                    found = _joins(graph, run, uses)
                    inputs += [_joined(graph, builder, old, run)] if found else map(builder.now, run)
                if len(inputs) == 1:
                    builder.stand_for(old, inputs[0])
                    continue
                node = replace(node, inputs=tuple(inputs))
        builder.append(node)
    return prune(rebuilt(graph, builder))


def _kind(graph: Graph, id: int, uses: Counter[int]) -> object:
    """Equal for values that one lookup can give; else each its own."""
    source = _source(graph, id)
    if not _sums(source) or uses[id] > 1 or uses[source.id] > 1:
        return id, len(uses)
    return frozenset(source.type.axes), source.role, source.device, graph.node(id).device


def _joins(graph: Graph, run: list[int], uses: Counter[int]) -> bool:
    return len(run) > 1 and _sums(_source(graph, run[0])) and uses[run[0]] == 1


def _source(graph: Graph, id: int) -> Node:
    """A value before it moved."""
    node = graph.node(id)
    return graph.node(node.inputs[0]) if node.op == op.TRANSFER else node


def _sums(node: Node) -> bool:
    """Whether a value is a field's rows, or sums of them."""
    return node.op == op.EMBED or (node.op == op.EMBED_BAG and node.attrs["mode"] != "max")


def _joined(graph: Graph, builder: Builder, whole: Node, run: list[int]) -> int:
    """One lookup, where it is read, for a run of a value's inputs."""
    sources = [_source(graph, id) for id in run]
    first, there = sources[0], graph.node(run[0]).device
    type_ = Type(first.type.axes, sum(s.type.width for s in sources))
    like = replace(whole, role=first.role, device=first.device)
    moves = there != first.device
    name = f"{whole.name}_rows" if whole.name is not None and moves else None
    found = builder.add(op.LOOKUP, (), type_, like, *_lookup(sources), name=name)
    if not moves:
        return found
    return builder.add(op.TRANSFER, (found,), type_, replace(like, device=there), {"device": there})


def _lookup(sources: Iterable[Node]) -> tuple[dict[str, tuple[str | None, ...]], tuple[str, ...]]:
    """Attributes and weights."""
    read = [r for s in sources for r in readings(s)]
    attrs = {"fields": tuple(r.field for r in read), "modes": tuple(r.mode for r in read)}
    return attrs, tuple(r.table for r in read)


# --------------------------------------------------------------- shared tables


def _of_shared_tables(graph: Graph) -> Graph:
    readers = Counter(table for n in graph.nodes for table in {r.table for r in readings(n)})
    nodes = []
    for node in graph.nodes:
        if _sums(node) and readers[node.weights[0]] > 1:
            attrs, weights = _lookup([node])
            node = replace(node, op=op.LOOKUP, attrs=attrs, weights=weights)
        nodes.append(node)
    return graph.with_nodes(tuple(nodes))
