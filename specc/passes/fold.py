"""Constants folded, and operations that change nothing removed.

Assumes: nothing. Promises: the same values; no pointwise operation has only constants for inputs, and
none adds 0, multiplies or divides by 1, or raises to 1. What divides by 0 is left for the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from specc.ir.graph import Graph, Node
from specc.ir.prune import prune
from specc.passes.rewrite import Builder, rewrite

_FOLDED: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "neg": lambda a: -a,
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "abs": abs,
    "tanh": math.tanh,
    "relu": lambda a: max(a, 0.0),
}
# By operation the second input that changes nothing.
_NEUTRAL = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0, "pow": 1.0}


def fold(graph: Graph) -> Graph:
    return prune(rewrite(graph, _fold))


def _fold(node: Node, builder: Builder) -> int | None:
    if node.op not in _FOLDED:
        return None
    values = [_constant(builder, i) for i in node.inputs]
    if all(v is not None for v in values):
        try:
            value = float(_FOLDED[node.op](*values))
        except (ArithmeticError, ValueError, TypeError):
            return None
        if not math.isfinite(value):
            return None
        return builder.add("constant", (), node.type, node, {"value": value})
    if len(values) == 2:
        first, second = node.inputs
        if values[1] == _NEUTRAL.get(node.op) and builder.node(first).type == node.type:
            return first
        if node.op in ("add", "mul") and values[0] == _NEUTRAL[node.op]:
            return second if builder.node(second).type == node.type else None
    return None


def _constant(builder: Builder, id: int) -> float | None:
    # Within a region some inputs are the region's own captures, and none of those is a constant.
    node = builder.node(id)
    return float(node.attrs["value"]) if node.op == "constant" else None
