"""Scans whose step the compiler can differentiate, marked for the compiled recurrence.

Assumes: states' own computations only are left in the region (hoist). Promises: the same values. A
scan becomes a `recurrence` if it walks a ragged axis, its states have no axes beyond those of the
sequences, and its step is made of operations whose derivative is known (emit/cell.py); any other stays
a scan, and the plain loop.
"""

from __future__ import annotations

from dataclasses import replace

from specc.ir.graph import Graph, Node, axis_of
from specc.ops import op
from specc.passes.rewrite import Builder, rewrite

# What a step may be made of; each has its derivative in emit/cell.py.
STEPS = (
    *(op.CAPTURE, op.STATE, op.CONSTANT, op.ADD, op.SUB, op.MUL, op.DIV, op.NEG, op.EXP, op.TANH, op.SIGMOID),
    *(op.RELU, op.SILU, op.LINEAR, op.PROJECT, op.SLICE, op.CONCAT, op.DOT),
)


def compile_recurrences(graph: Graph) -> Graph:
    return rewrite(graph, _compiled)


def _compiled(node: Node, builder: Builder) -> int | None:
    if node.op != op.SCAN or not _simple(node, builder):
        return None
    return builder.append(replace(node, op=op.RECURRENCE))


def _simple(scan: Node, builder: Builder) -> bool:
    region, axis = scan.region, axis_of(scan)
    assert region is not None
    assert axis is not None
    if not axis.ragged or any(not a.ragged for a in scan.type.axes):
        return False
    sequences = frozenset(scan.type.axes) - {axis}
    index = {n.id: n for n in region.nodes}
    if any(frozenset(index[s].type.axes) != sequences for s in region.states):
        return False
    # A step sees each sequence by itself: nothing in it has an axis of its own.
    return all(n.op in STEPS and frozenset(n.type.axes) <= sequences for n in region.nodes)
