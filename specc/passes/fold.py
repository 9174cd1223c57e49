"""Constants folded, and operations that change nothing removed.

Assumes: nothing. Promises: the same values; no pointwise operation has only constants for inputs, and
none adds 0, multiplies or divides by 1, or raises to 1. What divides by 0 is left for the run.
"""

from __future__ import annotations

import math

from specc.ir.graph import Graph, Node
from specc.ops import definition, op, pure
from specc.passes.rewrite import Builder, rewrite


def fold(graph: Graph) -> Graph:
    return rewrite(graph, _fold)


def _fold(node: Node, builder: Builder) -> int | None:
    known = definition(node)
    if known.fold is None or not pure(node):
        return None
    values = [_constant(builder, i) for i in node.inputs]
    if all(v is not None for v in values):
        try:
            value = float(known.fold(*values))
        except (ArithmeticError, ValueError, TypeError):
            return None
        if not math.isfinite(value):
            return None
        return builder.add(op.CONSTANT, (), node.type, node, {"value": value})
    if len(values) == 2:
        first, second = node.inputs
        if known.neutral is None:
            return None
        if values[1] == known.neutral and builder.node(first).type == node.type:
            return first
        if known.traits.commutative and values[0] == known.neutral:
            return second if builder.node(second).type == node.type else None
    return None


def _constant(builder: Builder, id: int) -> float | None:
    # Within a region some inputs are the region's own captures, and none of those is a constant.
    node = builder.node(id)
    return float(node.attrs["value"]) if node.op == op.CONSTANT else None
