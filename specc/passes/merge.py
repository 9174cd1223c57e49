"""Matrix products of one value stacked into one: the gates of a recurrence.

Assumes: loop-invariant code is out of the loop (hoist). Promises: the same values. A step has few rows, so
that the number of kernels decides how long it takes. So for a scan

* products of one value that its step reads become one product with stacked matrices, before the loop and in
  it, and each of them a slice of that;
* the same operation on adjacent slices becomes one operation: gates are added and activated together;
* a stacked product that is then read only in some longer runs is split into one product a run.

Other products stay apart: outside of loops there are rows enough to keep a processor busy.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations, count

from specc.ir.graph import Graph, Node
from specc.ir.prune import prune
from specc.ops import op, pure, traits
from specc.ops.products import Product, products_of, project_attrs
from specc.passes.rewrite import Builder, rebuilt, recaptured, uses_of, within
from specc.types.axis import Type

_PRODUCTS = (op.LINEAR, op.PROJECT)


def merge_products(graph: Graph) -> Graph:
    builder = Builder.of(graph)
    uses = uses_of(graph)
    for node in graph.nodes:
        if node.op == op.SCAN:
            node = _captured_together(node, builder, uses)
        builder.append(_with_merged(node, builder))
    return prune(rebuilt(graph, builder))


# ------------------------------------------------------------------------- outside


def _captured_together(scan: Node, builder: Builder, uses: Counter[int]) -> Node:
    """The scan with products of one value that nothing else reads as one input."""
    region = scan.region
    assert region is not None
    inside = {n.id: n for n in region.nodes}
    order = {id: place for place, id in reversed([*enumerate(i for n in region.nodes for i in n.inputs)])}
    groups: dict[object, list[int]] = defaultdict(list)
    for number, capture in enumerate(region.captures):
        source = builder.node(scan.inputs[number])
        if source.op in _PRODUCTS and uses[source.id] == 1 and capture in order:
            groups[source.inputs[0], source.type.axes, source.role].append(number)
    joined = {n for group in groups.values() if len(group) > 1 for n in group}
    if not joined:
        return scan
    left = [n for n in range(len(region.captures)) if n not in joined]
    captures = [region.captures[n] for n in left]
    inputs = [scan.inputs[n] for n in left]
    nodes = [replace(inside[id], attrs={"index": number}) for number, id in enumerate(captures)]
    for group in groups.values():
        if len(group) > 1:
            group.sort(key=lambda n: order[region.captures[n]])
            inputs.append(_stacked([builder.node(scan.inputs[n]) for n in group], builder))
            parts = [inside[region.captures[n]] for n in group]
            nodes += _taken_apart(parts, len(captures), builder.ids)
            captures.append(nodes[-len(parts) - 1].id)
    nodes += [n for n in region.nodes if n.id not in set(region.captures)]
    return recaptured(scan, captures, inputs, nodes)


def _taken_apart(parts: list[Node], number: int, ids: count[int]) -> list[Node]:
    """The capture of a stacked product, and a slice of it for each capture that it replaces."""
    first = parts[0]
    width = sum(p.type.width for p in parts)
    whole = replace(
        first, id=next(ids), type=first.type.with_width(width), attrs={"index": number}, name=None
    )
    nodes = [whole]
    start = 0
    for part in parts:
        cut = {"start": start, "stop": start + part.type.width}
        nodes.append(replace(part, op=op.SLICE, inputs=(whole.id,), attrs=cut))
        start += part.type.width
    return nodes


def _stacked(group: list[Node], builder: Builder) -> int:
    """One product of the same value for all."""
    source = builder.now(group[0].inputs[0])
    width = builder.node(source).type.width
    products = tuple(p for node in group for p in products_of(node, width))
    type_ = group[0].type.with_width(sum(p.width for p in products))
    return builder.add(op.PROJECT, (source,), type_, group[0], *project_attrs(products))


# -------------------------------------------------------------------------- inside


def _with_merged(node: Node, builder: Builder) -> Node:
    if node.region is None:
        return node
    inside = builder.inside()
    nodes = node.region.nodes
    together: dict[int, list[Node]] = defaultdict(list)
    for inner in nodes:
        if inner.op in _PRODUCTS:
            together[inner.inputs[0]].append(inner)
    first = {group[0].id: group for group in together.values() if len(group) > 1}
    later = {n.id for group in first.values() for n in group[1:]}
    for inner in nodes:
        if inner.id in first:
            _stack(first[inner.id], inside)
        elif inner.id not in later:
            inside.append(_with_merged(inside.updated(inner), builder))
    region = within(node, inside)
    joined = _apart(_side_by_side(region.nodes, builder.ids), region.nexts)
    return replace(node, region=replace(region, nodes=tuple(joined)))


def _stack(group: list[Node], builder: Builder) -> None:
    """One product for all, and a slice of it for each."""
    whole = _stacked(group, builder)
    start = 0
    for node in group:
        cut = {"start": start, "stop": start + node.type.width}
        builder.stand_for(node, builder.add(op.SLICE, (whole,), node.type, node, cut, name=node.name))
        start += node.type.width


def _side_by_side(nodes: Iterable[Node], ids: count[int]) -> list[Node]:
    """The same operation on adjacent slices as one operation, and each a slice of its result."""
    index = {n.id: n for n in nodes}
    while True:
        pair = _neighbours(index)
        if pair is None:
            return _sorted(index)
        first, second, inputs = pair
        wide = []
        for source, start, stop in inputs:
            if (start, stop) == (0, index[source].type.width):
                wide.append(source)
                continue
            cut = replace(
                first,
                id=next(ids),
                op=op.SLICE,
                inputs=(source,),
                type=Type(index[source].type.axes, stop - start),
                attrs={"start": start, "stop": stop},
                name=None,
            )
            index[cut.id] = cut
            wide.append(cut.id)
        widths = first.type.width, first.type.width + second.type.width
        whole = replace(
            first, id=next(ids), inputs=tuple(wide), type=first.type.with_width(widths[1]), name=None
        )
        index[whole.id] = whole
        for node, start, stop in ((first, 0, widths[0]), (second, widths[0], widths[1])):
            index[node.id] = replace(
                node, op=op.SLICE, inputs=(whole.id,), attrs={"start": start, "stop": stop}
            )
        _flat(index)


def _neighbours(index: dict[int, Node]) -> tuple[Node, Node, list[tuple[int, int, int]]] | None:
    """Two operations that can be one, and for each input of that one (value, start, stop)."""
    alike: dict[object, list[Node]] = defaultdict(list)
    for node in index.values():
        if traits(node).pointwise and pure(node):
            alike[node.op, node.type.axes, tuple(sorted(node.attrs.items()))].append(node)
    for group in alike.values():
        for one, other in combinations(group, 2):
            for first, second in ((one, other), (other, one)):
                inputs = [_joined(index, *pair) for pair in zip(first.inputs, second.inputs, strict=True)]
                wide = [i for i in inputs if i is not None]
                if len(wide) == len(inputs) and any(index[s].type.width > 1 for s, _, _ in wide):
                    return first, second, wide
    return None


def _joined(index: dict[int, Node], first: int, second: int) -> tuple[int, int, int] | None:
    """Two inputs as one: slices of a value that follow each other, or the same value for all channels."""
    a, b = index[first], index[second]
    if first == second and a.type.width == 1:
        return first, 0, 1
    if a.op == b.op == op.SLICE and a.inputs == b.inputs and a.attrs["stop"] == b.attrs["start"]:
        return a.inputs[0], a.attrs["start"], b.attrs["stop"]
    return None


def _flat(index: dict[int, Node]) -> None:
    """Slices of slices as slices of what those are of."""
    for id, node in index.items():
        while node.op == op.SLICE and index[node.inputs[0]].op == op.SLICE:
            outer = index[node.inputs[0]]
            cut = {name: node.attrs[name] + outer.attrs["start"] for name in ("start", "stop")}
            node = index[id] = replace(node, inputs=outer.inputs, attrs=cut)


def _apart(nodes: list[Node], nexts: tuple[int, ...]) -> list[Node]:
    """Stacked products split into those runs in which they are read."""
    index = {n.id: n for n in nodes}
    users: dict[int, list[Node]] = defaultdict(list)
    alive = set(nexts)
    for node in reversed(nodes):
        if node.id in alive:
            alive.update(node.inputs)
            for id in node.inputs:
                users[id].append(node)
    for node in nodes:
        if node.op != op.PROJECT or node.id in nexts or any(u.op != op.SLICE for u in users[node.id]):
            continue
        products: tuple[Product, ...] = node.attrs["products"]
        runs = sorted({(u.attrs["start"], u.attrs["stop"]) for u in users[node.id]})
        ends = [0, *(stop for _, stop in runs)]
        if len(runs) >= len(products) or [start for start, _ in runs] != ends[:-1]:
            continue
        edges = [sum(p.width for p in products[:number]) for number in range(len(products) + 1)]
        if not set(ends) <= set(edges) or ends[-1] != edges[-1]:
            continue
        for use in users[node.id]:
            start, stop = (edges.index(use.attrs[name]) for name in ("start", "stop"))
            attrs, weights = project_attrs(products[start:stop])
            index[use.id] = replace(use, op=op.PROJECT, inputs=node.inputs, attrs=attrs, weights=weights)
    return _sorted(index)


def _sorted(index: dict[int, Node]) -> list[Node]:
    """The nodes in topological order, otherwise as they were."""
    done: dict[int, Node] = {}

    def visit(node: Node) -> None:
        if node.id not in done:
            for id in node.inputs:
                visit(index[id])
            done[node.id] = node

    for node in list(index.values()):
        visit(node)
    return list(done.values())
