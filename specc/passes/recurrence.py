"""Scans whose step the compiler can differentiate, marked for the compiled recurrence.

Assumes: loop-invariant code is out of the region (hoist). Promises: the same values. A scan becomes a
`recurrence` if its axis is ragged, its states have the axes of the sequences and no others, and the
derivative of every operation of its step is known; any other stays a scan, lowered to a plain loop.
`obstacle` says why.
"""

from __future__ import annotations

from dataclasses import replace

from specc.ir.graph import Graph, Node, axis_of
from specc.ops import definition, op, traits
from specc.ops.definition import Pointwise
from specc.passes.rewrite import Builder, rewrite

# What a step may be made of beside pointwise operations; each has its derivative in lower/adjoint.py.
STEPS = (op.CAPTURE, op.STATE, op.CONSTANT, op.LINEAR, op.PROJECT, op.SLICE, op.CONCAT, op.DOT)


def compile_recurrences(graph: Graph) -> Graph:
    return rewrite(graph, _compiled)


def _compiled(node: Node, builder: Builder) -> int | None:
    if node.op != op.SCAN or obstacle(node) is not None:
        return None
    return builder.append(replace(node, op=op.RECURRENCE))


def obstacle(scan: Node) -> str | None:
    """What keeps a scan from a loop with a compiled derivative; None if nothing does."""
    region, axis = scan.region, axis_of(scan)
    assert region is not None
    assert axis is not None
    if not axis.ragged:
        return f"`{axis}` is static"
    if static := [a for a in scan.type.axes if not a.ragged]:
        return f"its states have the static axis `{static[0]}`"
    sequences = frozenset(scan.type.axes) - {axis}
    index = {n.id: n for n in region.nodes}
    for state in region.states:
        if other := frozenset(index[state].type.axes) ^ sequences:
            return f"its states do not all have the axis `{min(a.name for a in other)}`"
    for node in region.nodes:
        if not (node.op in STEPS or _differentiable(node)):
            return f"its step has `{node.op}`, of which no derivative is known there"
        # A step sees each sequence by itself: nothing in it has an axis of its own.
        if own := frozenset(node.type.axes) - sequences:
            return f"`{node.op}` in its step has the axis `{min(a.name for a in own)}`"
    return None


def _differentiable(node: Node) -> bool:
    """Whether an operation of single channels says what its derivative is, for every input."""
    found = definition(node)
    written = found.derivative is not None and len(found.derivative.python) == len(node.inputs)
    return traits(node).pointwise and isinstance(found.lowering, Pointwise) and written
