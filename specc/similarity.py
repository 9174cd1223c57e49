"""Whether a model's score is a product of two of its outputs: what makes candidates findable by their
vectors.

Promises: where `product_of` names a product, the prediction orders a request's candidates as the product of
the two outputs does. It is read off the graph: what is not recognised is none, with the reason in a sentence.
"""

from __future__ import annotations

from typing import Literal

from specc.frozen import dataclass
from specc.ir.graph import Graph, Node, Output
from specc.ops import op
from specc.passes import prepared
from specc.passes.fold import fold
from specc.passes.roles import CANDIDATE, REQUEST
from specc.passes.share import share

TINY = 1e-6  # what may be added to a sum of squares, so that no length is 0

Kind = Literal["inner", "cosine"]


@dataclass(frozen=True)
class Product:
    """kind: the inner product of the outputs `request` and `candidate`, or the cosine of their angle."""

    prediction: str
    request: str
    candidate: str
    kind: Kind


def product_of(graph: Graph, candidate: str) -> Product | str:
    """The product by which an output of the candidate alone is found; or why there is none."""
    graph = share(fold(prepared(graph)))
    wanted = next(r for r in graph.results if r.name == candidate)
    others = [r for r in graph.results if graph.node(r.node).role == REQUEST]
    if not others:
        return "the model has no `output` of the request alone, whose vectors would be compared with these"
    why = []
    for prediction in graph.predictions:
        found = _product(graph, prediction.node, wanted, others)
        if not isinstance(found, str):
            return Product(prediction.name, found[0], candidate, found[1])
        why.append(f"`{prediction.name}` {found}")
    return "; ".join(why) or "the model has no prediction"


def _product(graph: Graph, node: int, wanted: Output, others: list[Output]) -> tuple[str, Kind] | str:
    score = _without_shift(graph, graph.node(node))
    sides = _sides(graph, score)
    if sides is None:
        return f"is no dot product of two values: it ends in `{score.op}`"
    sides = sorted(sides, key=lambda n: n.role == CANDIDATE)
    if [n.role for n in sides] != [REQUEST, CANDIDATE]:
        return "is no product of a value of the request alone and one of the candidate alone"
    asked, own = (_without_scale(graph, n) for n in sides)
    vector = _without_scale(graph, graph.node(wanted.node))
    if own.id == vector.id:
        kind: Kind = "inner"
    elif _unit_of(graph, own) == vector.id:
        kind = "cosine"
    else:
        return f"is a product with another value of the candidate than `{wanted.name}`"
    # How long the request's vector is changes no order of its candidates.
    directions = {asked.id, _unit_of(graph, asked)} - {None}
    for other in others:
        given = _without_scale(graph, graph.node(other.node))
        if given.id in directions or _unit_of(graph, given) in directions:
            return other.name, kind
    return "is a product with a value of the request that is no `output`"


def _without_shift(graph: Graph, node: Node) -> Node:
    """A score without what changes no order of a request's candidates: factors above 0, and what is added of
    the request alone."""
    while True:
        node, before = _without_scale(graph, node), node
        inputs = [graph.node(i) for i in node.inputs]
        if node.op == op.ADD and REQUEST in (roles := [n.role for n in inputs]):
            node = inputs[1 - roles.index(REQUEST)]
        elif node.op == op.SUB and inputs[1].role == REQUEST:
            node = inputs[0]
        if node is before:
            return node


def _without_scale(graph: Graph, node: Node) -> Node:
    """A value without constant factors above 0."""
    while True:
        inputs = [graph.node(i) for i in node.inputs]
        if node.op in (op.MUL, op.DIV) and (_constant(inputs[1]) or 0) > 0:
            node = inputs[0]
        elif node.op == op.MUL and (_constant(inputs[0]) or 0) > 0:
            node = inputs[1]
        else:
            return node


def _sides(graph: Graph, node: Node) -> list[Node] | None:
    """What a dot product is one of, written as `dot(a, b)` or as `sum(a * b)`."""
    if node.op == op.SUM and node.attrs.get("axis") is None and len(node.inputs) == 1:
        node = graph.node(node.inputs[0])
        if node.op != op.MUL:
            return None
    elif node.op != op.DOT:
        return None
    sides = [graph.node(i) for i in node.inputs]
    plain = len(sides) == 2 and all(not n.type.axes for n in sides)
    return sides if plain and len({n.type.width for n in sides}) == 1 else None


def _unit_of(graph: Graph, node: Node) -> int | None:
    """The value whose direction a value of length 1 has: of `x / sqrt(sum(x ^ 2))`, x."""
    if node.op != op.DIV:
        return None
    x, length = (graph.node(i) for i in node.inputs)
    if length.op != op.SQRT:
        return None
    squares = graph.node(length.inputs[0])
    if squares.op == op.ADD:
        one, other = (graph.node(i) for i in squares.inputs)
        if (size := _constant(one)) is not None:
            squares = other
        elif (size := _constant(other)) is not None:
            squares = one
        if size is None or not 0 <= size <= TINY:
            return None
    sides = _sides(graph, squares)
    if sides is None and squares.op == op.SUM and squares.attrs.get("axis") is None:
        power = graph.node(squares.inputs[0])
        if power.op == op.POW and _constant(graph.node(power.inputs[1])) == 2:
            sides = [graph.node(power.inputs[0])] * 2
    same = sides is not None and all(n.id == x.id for n in sides)
    return _without_scale(graph, x).id if same else None


def _constant(node: Node) -> float | None:
    """The value of a constant number."""
    value = node.attrs.get("value") if node.op == op.CONSTANT else None
    return float(value) if isinstance(value, int | float) else None
