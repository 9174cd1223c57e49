"""Values read by position, in whichever way a spec says it.

    sum(x, over k where k == v)                    = at(x, over k = v)   where v is a whole number, else 0
    linear(join(windows(x, n, over t, as tap)))    = convolve(x)

Assumes: nothing. Promises: the same values up to rounding. A sum that counts one position reads it. A linear
layer of a window multiplies what is there once for each place in the window, and copies nothing; along a
static axis, where there is nothing to save, it stays.
"""

from __future__ import annotations

from specc.ir.graph import Graph, Node
from specc.ops import op
from specc.ops.products import products_of
from specc.passes.rewrite import Builder, rewrite
from specc.types.axis import Axis


def read_by_position(graph: Graph) -> Graph:
    return rewrite(graph, _read)


def _read(node: Node, builder: Builder) -> int | None:
    if node.op == op.SUM and len(node.inputs) == 2:
        return _one_position(node, builder)
    return _convolution(node, builder) if node.op == op.LINEAR else None


def _one_position(node: Node, builder: Builder) -> int | None:
    axis = node.attrs["axis"]
    x, where = (builder.node(id) for id in node.inputs)
    if where.op != op.EQ or not isinstance(axis, Axis):
        return None
    for index, value in (where.inputs, where.inputs[::-1]):
        is_index = builder.node(index).op == op.INDEX and builder.node(index).attrs["axis"] == axis
        if is_index and not builder.node(value).type.has(axis):
            attrs = {"axis": axis, "exact": True}
            return builder.add(op.AT, (x.id, value), node.type, node, attrs, name=node.name)
    return None


def _convolution(node: Node, builder: Builder) -> int | None:
    joined = builder.node(node.inputs[0])
    windows = builder.node(joined.inputs[0]) if joined.op == op.JOIN else joined
    if windows.op != op.WINDOWS or joined.attrs["axis"] != windows.attrs["tap"]:
        return None
    axis = windows.attrs["axis"]
    if not axis.ragged:
        return None
    attrs = {
        "axis": axis,
        "shifts": windows.attrs["shifts"],
        "products": products_of(node, joined.type.width),
    }
    return builder.add(op.CONVOLVE, windows.inputs, node.type, node, attrs, node.weights, name=node.name)
