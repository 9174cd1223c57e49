"""Pattern matching of attention: softmax(dot(q, k) * c) v becomes one fused operation.

    score = dot(query, rename(key, t to s)) / c;  weight = softmax(score, over s [where s <= t])
    sum(weight * rename(value, t to s), over s)

Assumes: nothing. Promises: the same values up to rounding. In self-attention nothing of the size of all
pairs of positions is saved for backward; a mask (`where`) of earlier positions, with or without its own, or
of all others becomes an attribute of the operation. Weights that an `attention` block records are still
computed, when they are asked for.

A query without a sequence axis of its own is fused only if it has several heads: with one, there are no
more scores than keys, and nothing to save.
"""

from __future__ import annotations

from specc.frozen import dataclass
from specc.ir.graph import Graph, Node
from specc.ops import op
from specc.passes.rewrite import Builder, rewrite
from specc.types.axis import Axis, Type
from specc.types.kinds import alike


@dataclass(frozen=True)
class Scores:
    """scale * dot(query, key), the query's value being the one without the key's axis."""

    query: int
    key: int
    scale: float


def recognise_attention(graph: Graph) -> Graph:
    return rewrite(graph, _fused)


def _fused(node: Node, builder: Builder) -> int | None:
    axis = node.attrs.get("axis")
    if node.op != op.SUM or len(node.inputs) > 1 or not isinstance(axis, Axis) or not axis.ragged:
        return None
    product = builder.node(node.inputs[0])
    if product.op != op.MUL:
        return None
    for weight, value in (product.inputs, product.inputs[::-1]):
        softmax = builder.node(weight)
        if softmax.op == op.SOFTMAX and softmax.attrs["axis"] == axis and softmax.type.width == 1:
            scores = _scores(builder, softmax.inputs[0], axis)
            if scores is not None:
                return _attention(node, builder, softmax, scores, value, axis)
    return None


def _attention(
    node: Node, builder: Builder, softmax: Node, scores: Scores, value: int, axis: Axis
) -> int | None:
    query, key, given = (builder.node(i).type for i in (scores.query, scores.key, value))
    own = [a for a in _ragged(query) if a not in _ragged(key)]
    if len(own) > 1 or query.has(axis) or not key.has(axis) or not given.has(axis):
        return None
    if not own and not _static(query):
        return None
    query_axis = own[0] if own else None
    shared = [a for a in _ragged(query) if a != query_axis]
    if any(set(_ragged(t)) - {axis} != set(shared) for t in (key, given)):
        return None
    # A key or value that is the same for several heads is repeated for each: the scores are for each, too,
    # and as many as all pairs. Heads that only the values have would multiply the scores.
    if not set(_static(given)) <= {*_static(query), *_static(key)}:
        return None
    where = _where(builder, softmax, query_axis, axis)
    if where is None or (where != "all" and (query_axis is None or not alike(query_axis, axis))):
        return None
    attrs = {"query_axis": query_axis, "key_axis": axis, "scale": scores.scale, "where": where}
    return builder.add(
        op.ATTENTION, (scores.query, scores.key, value), node.type, node, attrs, name=node.name
    )


def _scores(builder: Builder, id: int, axis: Axis) -> Scores | None:
    """A score as scale * dot(query, key)."""
    node, scale = builder.node(id), 1.0
    while node.op in (op.MUL, op.DIV):
        first, second = (builder.node(i) for i in node.inputs)
        if second.op == op.CONSTANT:
            by = float(second.attrs["value"])
            scale = scale * by if node.op == op.MUL else scale / by if by else float("nan")
            node = first
        elif first.op == op.CONSTANT and node.op == op.MUL:
            scale, node = scale * float(first.attrs["value"]), second
        else:
            return None
    if node.op != op.DOT or scale != scale:
        return None
    a, b = node.inputs
    if builder.node(a).type.has(axis):
        a, b = b, a
    if builder.node(a).type.width != builder.node(b).type.width:
        return None
    return Scores(a, b, scale)


def _where(builder: Builder, softmax: Node, query_axis: Axis | None, key_axis: Axis) -> str | None:
    """The condition of a softmax by its name; None for another."""
    if len(softmax.inputs) == 1:
        return "all"
    condition = builder.node(softmax.inputs[1])
    sides = [builder.node(i) for i in condition.inputs]
    if len(sides) != 2 or any(side.op != op.INDEX for side in sides):
        return None
    axes = tuple(side.attrs["axis"] for side in sides)
    if axes == (key_axis, query_axis):
        return {op.LE: "until", op.LT: "before", op.NE: "others"}.get(condition.op)
    if axes == (query_axis, key_axis):
        return {op.GE: "until", op.GT: "before", op.NE: "others"}.get(condition.op)
    return None


def _ragged(type_: Type) -> tuple[Axis, ...]:
    return tuple(a for a in type_.axes if a.ragged)


def _static(type_: Type) -> tuple[Axis, ...]:
    return tuple(a for a in type_.axes if not a.ragged)
