"""Fusion of wide intermediate values with what reduces them, a few rows at a time.

    sum(w * x, over t)    = weighted_sum(w, x)
    W (a * b), dot(a, b)  = paired(a, b)
    W (a * b) + U a + V b = paired(a, b)

Assumes: nothing. Promises: the same values. An intermediate value of a whole batch goes through memory; that
of a few rows stays in the processor's cache, and is recomputed for the gradient rather than saved. So

* everything from all pairs of a static axis up to their sum becomes one `tiled` operation: there are as many
  pairs as the square of the fields;
* an elementwise product of two values along a ragged axis that only a sum over that axis, a linear layer or a
  sum over channels reads is computed inside of that: it would be as large as all histories, and so would a
  factor expanded to every position. Linear layers of the factors alone that are added to such a layer's
  result are computed with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from specc.ir.graph import Graph, Node, Region
from specc.ir.prune import prune
from specc.ops import op, pure
from specc.ops.products import products_of, project_attrs
from specc.passes.rewrite import Builder, needed_by_outputs, rebuilt, rewrite, uses_of
from specc.types.axis import Axis


def tile(graph: Graph) -> Graph:
    for node in graph.nodes:
        if node.op == op.PAIRS:
            graph = _tiled(graph, node)
    return rewrite(prune(graph), _Fusion(graph).rule)


class _Fusion:
    """Sums, products and dots of values that are multiplied first, and what is added to the products."""

    def __init__(self, graph: Graph) -> None:
        self.uses = uses_of(graph)
        self.top = {n.id for n in graph.nodes}

    def rule(self, node: Node, builder: Builder) -> int | None:
        if node.id not in self.top:
            return None
        found = self._fused(node, builder)
        if found is not None:
            self.uses[found] = self.uses[node.id]
        return found

    def _fused(self, node: Node, builder: Builder) -> int | None:
        if node.op == op.DOT:
            return self._paired(node, builder, node.inputs)
        if node.op == op.ADD:
            return self._with_own(node, builder)
        if node.op not in (op.SUM, op.LINEAR, op.PROJECT) or len(node.inputs) > 1:
            return None
        product = builder.node(node.inputs[0])
        if product.op != op.MUL or self.uses[product.id] > 1:
            return None
        if node.op == op.SUM:
            return self._weighted_sum(node, builder, product)
        return self._paired(node, builder, product.inputs)

    def _weighted_sum(self, node: Node, builder: Builder, product: Node) -> int | None:
        axis = node.attrs["axis"]
        if not isinstance(axis, Axis) or not axis.ragged:
            return None
        for weight, x in (product.inputs, product.inputs[::-1]):
            types = builder.node(weight).type, builder.node(x).type
            fixed = [{a for a in t.axes if not a.ragged} for t in types]
            along = all(t.has(axis) for t in types) and fixed[0] == fixed[1]
            if along and types[0].width == 1 < types[1].width:
                attrs = {"axis": axis}
                return builder.add(op.WEIGHTED_SUM, (weight, x), node.type, node, attrs, name=node.name)
        return None

    def _paired(self, node: Node, builder: Builder, pair: tuple[int, ...]) -> int | None:
        types = [builder.node(i).type for i in pair]
        if types[0].width != types[1].width or types[0].width == 1 or not any(t.axes for t in types):
            return None
        if len(set(pair)) < 2 or not self._pairable(node, *(builder.node(i) for i in pair)):
            return None
        attrs: dict[str, Any] = {"products": None}
        weights: tuple[str, ...] = ()
        if node.op != op.DOT:
            attrs, weights = project_attrs(products_of(node, types[0].width))
        attrs = {**attrs, "own": (None, None)}
        return builder.add(op.PAIRED, pair, node.type, node, attrs, weights, name=node.name)

    def _pairable(self, node: Node, first: Node, second: Node) -> bool:
        """Whether a row of the two's product is worth computing where it is summed up. With heads, each by
        itself, it is where a candidate's rows meet those of its request."""
        heads = [{a for a in n.type.axes if not a.ragged} for n in (first, second)]
        if not any(heads):
            return True
        fewer = all(n.role != node.role or set(n.type.axes) < set(node.type.axes) for n in (first, second))
        return node.op == op.DOT and heads[0] == heads[1] and fewer and first.role != second.role

    def _with_own(self, node: Node, builder: Builder) -> int | None:
        """A sum of which one term is `paired`, and others are products of its factors."""
        terms = self._terms(node, builder)
        pairs = [t for t in terms if t.op == op.PAIRED and t.attrs["products"] and t.type == node.type]
        if len(pairs) != 1 or self.uses[pairs[0].id] > 1:
            return None
        (paired,) = pairs
        own = list(paired.attrs["own"])
        weights = paired.weights
        left = [t for t in terms if t is not paired]
        for term in list(left):
            product = term.op in (op.LINEAR, op.PROJECT) and self.uses[term.id] == 1
            if product and term.inputs[0] in paired.inputs and term.type.width == node.type.width:
                number = paired.inputs.index(term.inputs[0])
                if own[number] is None:
                    width = builder.node(term.inputs[0]).type.width
                    attrs, more = project_attrs(products_of(term, width))
                    own[number] = attrs["products"]
                    weights = (*weights, *more)
                    left.remove(term)
        if len(left) == len(terms) - 1:
            return None
        attrs = {**paired.attrs, "own": tuple(own)}
        weights = tuple(dict.fromkeys(weights))
        total = builder.add(op.PAIRED, paired.inputs, node.type, node, attrs, weights, name=node.name)
        for term in left:
            total = builder.add(op.ADD, (term.id, total), node.type, node, name=node.name)
        return total

    def _terms(self, node: Node, builder: Builder) -> list[Node]:
        """What a sum consists of, through sums that nothing else reads."""
        found: list[Node] = []
        for id in node.inputs:
            part = builder.node(id)
            inner = part.op == op.ADD and self.uses[id] == 1 and part.type.width == node.type.width
            found += self._terms(part, builder) if inner else [part]
        return found


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
    if len(ends) != 1 or ends[0].type.has(axis) or any(n.region is not None or not pure(n) for n in inside):
        return graph
    # A tile is of some examples: sequences, whose rows are others, stay out of it.
    if any(a.ragged for n in inside for id in (n.id, *n.inputs) for a in graph.node(id).type.axes):
        return graph
    if ids.intersection(graph.outputs) or len(inside) < 3:
        return graph
    return _replaced(graph, inside, ends[0], axis)


def _replaced(graph: Graph, inside: list[Node], end: Node, axis: Axis) -> Graph:
    builder = Builder.of(graph)
    own = {n.id for n in inside}
    constants = {i for n in inside for i in n.inputs if graph.node(i).op == op.CONSTANT}
    given = tuple(dict.fromkeys(i for n in inside for i in n.inputs if i not in own | constants))
    for node in graph.nodes:
        if node.id != end.id:
            builder.append(builder.updated(node))
            continue
        body = builder.inside()
        for number, id in enumerate(given):
            like = graph.node(id)
            captured = Node(
                next(body.ids), op.CAPTURE, (), like.type, like.span, {"index": number}, (), like.scope,
                role=like.role,
            )  # fmt: skip
            body.renamed[id] = body.append(captured)
        captures = tuple(body.renamed[id] for id in given)
        for inner in (*(graph.node(i) for i in sorted(constants)), *inside):
            copy = replace(body.updated(inner), id=next(body.ids))
            body.renamed[inner.id] = body.append(copy)
        region = Region(tuple(body.nodes), captures, (), (), (body.now(end.id),))
        tiled = builder.add(op.TILED, given, end.type, end, {"axis": axis}, name=end.name)
        place = next(i for i, n in enumerate(builder.nodes) if n.id == tiled)
        builder.nodes[place] = replace(builder.nodes[place], region=region)
        builder.renamed[end.id] = tiled
    return rebuilt(graph, builder)
