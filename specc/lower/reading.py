"""The kernels of values that are read by position.

A ragged axis is read by row, a static one is a dimension that is read.
"""

from __future__ import annotations

from specc.ir.graph import Node
from specc.lower.body import Body, matrices
from specc.lower.program import Value
from specc.lower.shape import Shape
from specc.ops import op
from specc.types.axis import Axis


def at(body: Body, node: Node) -> Value:
    axis, shape = node.attrs["axis"], body.shape(node)
    x, own = body.of(node.inputs[0]), body.shape(body.nodes[node.inputs[0]])
    position = body.at(node.inputs[1], shape, node, whole=True)
    exact = {"exact": True} if node.attrs["exact"] else {}
    if axis.ragged:
        assert own.domain is not None
        assert shape.domain is not None
        x = body.spread(x, own.dims, shape.dims)
        of, to = body.rows(own.domain, node), body.rows(shape.domain, node)
        return body.make("at_rows", x, position, of, to, axis, like=node, options=exact)
    x = _in_front(body, x, own, axis, shape.dims)
    rows = []
    if not body.flat and own.domain is not None and own.domain != shape.domain:
        assert shape.domain is not None
        rows = [body.rows(own.domain, node), body.rows(shape.domain, node)]
    return body.make("at", x, position, *rows, like=node, options=exact)


def _in_front(body: Body, x: Value, own: Shape, axis: Axis, dims: tuple[Axis, ...]) -> Value:
    """A value whose static axis is the first dimension behind the rows; behind it there are dimensions of
    size 1 for those that the value lacks."""
    place, rest = own.dim(axis), tuple(a for a in own.dims if a != axis)
    if place != 1:
        shape = Shape(own.domain, (axis, *rest))
        x = body.make("movedim", x, place, 1, like=x, shape=shape, dtype=x.dtype, view=x)
    places = [2 + number for number, a in enumerate(dims) if a not in rest]
    if places:
        shape = Shape(own.domain, (axis, *dims))
        x = body.make("unsqueeze", x, *places, like=x, shape=shape, dtype=x.dtype, view=x)
    return x


def windows(body: Body, node: Node) -> Value:
    axis, tap, shifts = (node.attrs[k] for k in ("axis", "tap", "shifts"))
    shape, own = body.shape(node), body.shape(body.nodes[node.inputs[0]])
    x = body.of(node.inputs[0])
    # What is made has the window behind the rows, or behind the axis that it is along.
    place = 1 if axis.ragged else own.dim(axis) + 1
    made = Shape(own.domain, (*own.dims[: place - 1], tap, *own.dims[place - 1 :]))
    if axis.ragged:
        assert own.domain is not None
        rows = body.rows(own.domain, node)
        found = body.make("windows_of_rows", x, rows, axis, shifts, like=node, shape=made)
    else:
        found = body.make("windows", x, own.dim(axis), shifts, like=node, shape=made)
    wanted = shape.dim(tap)
    return found if place == wanted else body.make("movedim", found, place, wanted, like=node, view=found)


def convolve(body: Body, node: Node) -> Value:
    axis, shifts, products = (node.attrs[k] for k in ("axis", "shifts", "products"))
    source = body.nodes[node.inputs[0]]
    own = body.shape(source)
    assert own.domain is not None
    matrix, bias = matrices(products, source.type.width * len(shifts))
    rows = body.rows(own.domain, node)
    return body.make(op.CONVOLVE, body.of(source.id), matrix, bias, rows, axis, shifts, like=node)
