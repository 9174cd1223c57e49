"""Numbers that a spec compares: values near those that decide, so that tests meet both answers.

Promises: by field the numbers that it is compared with, directly or in a sum, with what lies just below and
above; positions for one that is compared with an index, or read as one. What no number decides is not named.
"""

from __future__ import annotations

from collections.abc import Mapping

from specc.ir.graph import Graph, Node, walk
from specc.ops import op
from specc.types.axis import Axis

COMPARISONS = frozenset([op.EQ, op.NE, op.LT, op.LE, op.GT, op.GE, op.AT])
_POSITIONS = 6  # of an axis, from the first on
_FEW = 4  # constants of one comparison, of which sums are looked at


def deciding(graph: Graph) -> Mapping[str, list[float]]:
    """Return by path of a number field the values at which a comparison of it has another answer."""
    numbers = {f.path for space in graph.spaces for f in space.fields if f.encoding == "number"}
    found: dict[str, set[float]] = {}
    for node in walk(graph.nodes):
        if node.op not in COMPARISONS:
            continue
        reached = _reached(graph, node)
        fields = {str(n.attrs["field"]) for n in reached if n.attrs.get("field") in numbers}
        constants = {float(n.attrs["value"]) for n in reached if n.op == op.CONSTANT}
        values = {position for n in reached for position in _positions(n)}
        values |= {value + step for value in _sums(constants) for step in (-1, 0, 1)}
        for path in fields if values else ():
            found.setdefault(path, set()).update(values)
    return {path: sorted(values) for path, values in found.items()}


def _positions(node: Node) -> set[float]:
    if node.op not in (op.INDEX, op.AT):
        return set()
    axis = node.attrs["axis"]
    assert isinstance(axis, Axis)
    return {float(i) for i in range(min(axis.bound, _POSITIONS))}


def _sums(constants: set[float]) -> set[float]:
    """Return numbers, and sums and differences of two: `x - 100 > 5_000` has another answer at 5,100."""
    pairs = {one + sign * other for one in constants for other in constants - {one} for sign in (-1, 1)}
    return constants | (pairs if len(constants) <= _FEW else set())


def _reached(graph: Graph, node: Node) -> list[Node]:
    """Return what a node is computed from without weights, and itself."""
    seen: dict[int, Node] = {}
    waiting = [node]
    while waiting:
        at = waiting.pop()
        if at.id not in seen:
            seen[at.id] = at
            waiting += [graph.node(i) for i in at.inputs if not graph.node(i).weights]
    return list(seen.values())
