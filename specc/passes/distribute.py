"""Linear layers of concatenations split into one product for each part.

    linear(concat(q, k, q - k, q * k)) = (Wq + Wd) q + (Wk - Wd) k + Wp (q * k)

Assumes: nothing. Promises: the same values up to rounding. The parts of a concatenation are grouped by
their axes and role; each group is multiplied by its own columns of the matrix, so that what is the same for
all positions (or candidates) is multiplied once. Sums and differences among the parts are split into their
terms if these are parts themselves, or have fewer axes.

Parts with the same axes stay one product, which is faster than two, except for a part that the same matrix
multiplies in another concatenation: its product is computed once for both. If a group is all positions of a
value but one and its product is narrower, the product comes first and the positions are taken from it
(lowered to `ops.product`, which multiplies those alone). In a scan, what depends on a state is a group of its
own, so that `hoist` can move the rest out of the loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from specc.frozen import dataclass
from specc.ir.graph import Graph, Node, walk
from specc.ops import op, traits
from specc.ops.products import Columns, Product, project_attrs
from specc.passes.rewrite import CANDIDATE, Builder, rewrite
from specc.types.axis import Type, union


@dataclass(frozen=True)
class Term:
    """`coefficient` times a value, multiplied by the columns `start` .. `stop` of the matrix."""

    value: int
    coefficient: float
    start: int
    stop: int


def distribute(graph: Graph) -> Graph:
    moves = Moves()
    uses = Counter(i for node in walk(graph.nodes) for i in node.inputs)
    repeated = _repeated(graph)

    def rule(node: Node, builder: Builder) -> int | None:
        if node.op != op.LINEAR:
            return None
        shared = frozenset(builder.now(id) for id in repeated.get(node.id, ()))
        return _distributed(node, builder, moves, uses, shared)

    return rewrite(graph, rule)


def _repeated(graph: Graph) -> dict[int, list[int]]:
    """By linear layer, the parts of its concatenation that the same columns of its matrix multiply in another
    concatenation too."""
    seen: dict[tuple[str, int, int], list[int]] = {}
    index = {n.id: n for n in graph.nodes}
    for node in graph.nodes:
        source = index[node.inputs[0]] if node.op == op.LINEAR else None
        if source is not None and source.op == op.CONCAT:
            start = 0
            for id in source.inputs:
                seen.setdefault((node.weights[0], id, start), []).append(node.id)
                start += index[id].type.width
    found: dict[int, list[int]] = {}
    for (_, id, _), layers in seen.items():
        if len({index[layer].inputs[0] for layer in layers}) > 1:
            for layer in layers:
                found.setdefault(layer, []).append(id)
    return found


class Moves:
    """Which nodes of a region depend on a state."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    def __call__(self, builder: Builder, id: int) -> bool:
        if id not in self._known:
            node = builder.node(id)
            self._known[id] = node.op == op.STATE or any(self(builder, i) for i in node.inputs)
        return self._known[id]


def _distributed(
    node: Node, builder: Builder, moves: Moves, uses: Counter[int], shared: frozenset[int]
) -> int | None:
    def kind(id: int) -> Any:
        """Equal for values that one product multiplies: they have the same rows."""
        value = builder.node(id)
        return moves(builder, id), value.role == CANDIDATE, frozenset(value.type.axes), id in shared

    if builder.node(node.inputs[0]).op != op.CONCAT:
        return None
    parts = _parts(builder, builder.node(node.inputs[0]), 0, uses)
    there = {p.value for p in parts}
    terms = [term for part in parts for term in _terms(builder, part, there, kind)]
    groups: dict[Any, dict[int, list[Term]]] = {}
    for term in terms:
        groups.setdefault(kind(term.value), {}).setdefault(term.value, []).append(term)
    if len(groups) == 1 and len(terms) == len(parts):
        return None
    # What is there least often first; the bias goes with it.
    ordered = sorted(groups.items(), key=lambda item: (item[0][:2], len(item[0][2]), not item[0][3]))
    matrix, *bias = node.weights
    total: int | None = None
    for _, values in ordered:
        blocks = tuple(tuple(Columns(t.coefficient, t.start, t.stop) for t in ts) for ts in values.values())
        product = Product(matrix, bias[0] if bias and total is None else None, node.type.width, blocks)
        found = _product(node, builder, tuple(values), product)
        if total is None:
            total = found
        else:
            type_ = Type(union(builder.node(total).type, builder.node(found).type), node.type.width)
            total = builder.add(op.ADD, (total, found), type_, node)
    return total


def _product(node: Node, builder: Builder, values: tuple[int, ...], product: Product) -> int:
    """The product of some values of one kind, concatenated, with their columns."""
    types = [builder.node(i).type for i in values]
    source = values[0]
    if len(values) > 1:
        source = builder.add(op.CONCAT, values, Type(union(*types), sum(t.width for t in types)), node)
    attrs, weights = project_attrs((product,))
    picked = builder.node(source)
    if _all_but_one(picked) and product.width < picked.type.width and builder.has(picked.inputs[0]):
        before = builder.node(picked.inputs[0])
        whole = Type(before.type.axes, product.width)
        found = builder.add(op.PROJECT, (before.id,), whole, node, attrs, weights)
        type_ = Type(picked.type.axes, product.width)
        return builder.add(picked.op, (found,), type_, picked, picked.attrs)
    return builder.add(op.PROJECT, (source,), Type(union(*types), product.width), node, attrs, weights)


def _all_but_one(node: Node) -> bool:
    """Whether a value is another's at all positions of an axis but one."""
    return traits(node).moves_rows and node.attrs["axis"].kind == "shorter"


def _parts(builder: Builder, concat: Node, start: int, uses: Counter[int]) -> list[Term]:
    """The parts of a concatenation; a nested one is flattened if nothing else reads it."""
    found: list[Term] = []
    for id in concat.inputs:
        part = builder.node(id)
        if part.op == op.CONCAT and uses[id] == 1:
            found += _parts(builder, part, start, uses)
        else:
            found.append(Term(id, 1.0, start, start + part.type.width))
        start += part.type.width
    return found


def _terms(builder: Builder, part: Term, there: set[int], kind: Callable[[int], Any]) -> list[Term]:
    """A sum or difference as its terms, if that saves anything."""
    node = builder.node(part.value)
    signs = traits(node).terms
    if signs is None or any(builder.node(i).type.width != node.type.width for i in node.inputs):
        return [part]
    if not all(i in there or kind(i) != kind(part.value) for i in node.inputs):
        return [part]
    return [
        term
        for i, sign in zip(node.inputs, signs, strict=True)
        for term in _terms(builder, Term(i, sign * part.coefficient, part.start, part.stop), there, kind)
    ]
