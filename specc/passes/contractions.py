"""Sums of products as products of matrices.

    sum(a * b, over i),  sum(dot(a, b), over i),  sum(sum(a * b, over i), over j)  =  contract(a, b)

Assumes: nothing; what stands in loops and tiles stays. Promises: the same values up to rounding. A sum over
static axes becomes a contraction where each of the factors has rows, channels or an axis that the other lacks
and that stays: the product of the two would be larger than both. A `dot` is one by itself
(specc_runtime.ops.dot).
"""

from __future__ import annotations

from specc.ir.graph import Graph, Node
from specc.ir.prune import prune
from specc.ops import Origin, op, pure, traits
from specc.passes.rewrite import Builder, rewrite, uses_of
from specc.types.axis import Axis


def contract_sums(graph: Graph) -> Graph:
    return prune(rewrite(graph, _Sums(graph).rule))


class _Sums:
    def __init__(self, graph: Graph) -> None:
        self.uses = uses_of(graph)
        self.top = {n.id for n in graph.nodes}
        self.same = _same_everywhere(graph)

    def rule(self, node: Node, builder: Builder) -> int | None:
        if node.id not in self.top or node.op != op.SUM or len(node.inputs) > 1:
            return None
        axis, product = node.attrs["axis"], builder.node(node.inputs[0])
        if not isinstance(axis, Axis) or axis.ragged or self.uses[product.id] > 1:
            return None
        channels = product.op == op.DOT
        over: tuple[Axis, ...] = (axis,)
        if product.op == op.CONTRACT:
            over, channels = (*product.attrs["over"], axis), product.attrs["channels"]
        elif product.op not in (op.MUL, op.DOT):
            return None
        if not self._crossed(builder, product, over, channels):
            return None
        attrs = {"over": over, "channels": channels}
        found = builder.add(op.CONTRACT, product.inputs, node.type, node, attrs, name=node.name)
        self.uses[found] = self.uses[node.id]
        return found

    def _crossed(self, builder: Builder, product: Node, over: tuple[Axis, ...], channels: bool) -> bool:
        """Whether each factor has something that stays and that the other lacks."""
        has: list[set[object]] = []
        for factor in map(builder.node, product.inputs):
            has.append({a for a in factor.type.axes if not a.ragged and a not in over})
            has[-1] |= {"rows"} if factor.id not in self.same else set()
            has[-1] |= {"channels"} if factor.type.width > 1 and not channels else set()
        return len(has) == 2 and bool(has[0] - has[1]) and bool(has[1] - has[0])


def _same_everywhere(graph: Graph) -> set[int]:
    """The nodes that are the same in every example."""
    found: set[int] = set()
    for node in graph.nodes:
        own = traits(node).source
        fixed = own in (Origin.PARAMETER, Origin.LITERAL) and not any(a.ragged for a in node.type.axes)
        made = node.region is None and pure(node) and node.inputs and all(i in found for i in node.inputs)
        if fixed or (own is None and made):
            found.add(node.id)
    return found
