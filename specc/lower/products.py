"""The kernels of products of two values, summed over channels or along axes."""

from __future__ import annotations

from math import prod
from typing import Any

from specc.ir.graph import Node, axis_of
from specc.lower import choices
from specc.lower.body import Body, matrices, with_examples
from specc.lower.program import Record, Value
from specc.lower.shape import Shape, whole_shape
from specc.ops.products import Product
from specc.types.axis import Axis

_MATRIX = 64  # numbers in a matrix from which on copies of it are worth avoiding


def dot(body: Body, node: Node) -> Value:
    """As it stands; where one is a matrix for each sequence of the other's rows, by sequence."""
    shape = body.shape(node)
    for vector, matrix in ((0, 1), (1, 0)):
        axis = None if body.flat else _sequence_of_matrices(body, node, vector, matrix)
        if axis is not None:
            own = body.shape(body.nodes[node.inputs[matrix]])
            assert shape.domain is not None
            assert own.domain is not None
            x = body.at(node.inputs[vector], shape, node, whole=True)
            y = body.at(node.inputs[matrix], Shape(own.domain, shape.dims), node, whole=True)
            rows = body.rows(shape.domain, node), body.rows(own.domain, node)
            return body.make("dot_by_sequence", x, y, *rows, axis, like=node)
    return body.make(node.op, *(body.at(i, shape, node) for i in node.inputs), like=node)


def _sequence_of_matrices(body: Body, node: Node, vector: int, matrix: int) -> Axis | None:
    """The axis along which one input has vectors that are multiplied with one matrix of the other; None where
    it is not so."""
    domain = body.shape(node).domain
    x, y = (body.nodes[node.inputs[number]] for number in (vector, matrix))
    of, own = body.shape(x), body.shape(y)
    if domain is None or own.domain is None or own.domain.candidate != domain.candidate:
        return None
    more = domain.axes - own.domain.axes
    numbers = prod(axis.size or 1 for axis in own.dims) * y.type.width
    if len(more) != 1 or set(own.dims) <= set(of.dims) or numbers < _MATRIX or x.type.width == 1:
        return None
    (axis,) = more
    lives = {outer for other in own.domain.axes for outer in other.chain}
    return axis if axis not in lives and (axis.parent is None or axis.parent in lives) else None


def weighted_sum(body: Body, node: Node) -> Value:
    weight, x = node.inputs
    axis = axis_of(node)
    assert axis is not None
    shape = body.shape(node)
    assert shape.domain is not None
    domain = shape.domain.with_axis(axis)
    of, own = body.shape(body.nodes[x]), body.of(x)
    parts = [
        body.at(weight, Shape(domain, shape.dims), node, whole=True),
        body.spread(own, of.dims, shape.dims),
        body.rows(domain, node),
        axis,
    ]
    if of.domain is not None and of.domain != domain:
        parts.append(body.rows(of.domain, node))
    return body.make("weighted_sum", *parts, like=node)


def contract(body: Body, node: Node) -> Value:
    shape, over = body.shape(node), node.attrs["over"]
    dims = body.unit.shapes.dims((*shape.dims, *over))
    options = {"channels": True} if node.attrs["channels"] else {}
    sequence = next((axis for axis in over if axis.ragged), None)
    if sequence is None:
        inner = Shape(shape.domain, dims)
        a, b = (body.at(i, inner, node) for i in node.inputs)
        return body.make("contract", a, b, *(inner.dim(axis) for axis in over), like=node, options=options)
    assert shape.domain is not None
    domain = shape.domain.with_axis(sequence)
    inner = Shape(domain, dims)
    a, b = (body.at(i, inner, node, whole=True) for i in node.inputs)
    static = [inner.dim(axis) for axis in over if axis != sequence]
    rows = body.rows(domain, node)
    return body.make("contract_rows", a, b, rows, sequence, *static, like=node, options=options)


def paired(body: Body, node: Node) -> Value:
    shape = body.shape(node)
    assert shape.domain is not None
    found: tuple[Product, ...] | None = node.attrs["products"]
    matrix, bias = (None, None) if found is None else matrices(found, body.nodes[node.inputs[0]].type.width)
    biases = [bias]
    factors = []
    for id, own in zip(node.inputs, node.attrs["own"], strict=True):
        source = body.nodes[id]
        at = whole_shape(body.shape(source))
        x = body.at(id, at, node, whole=True)
        parts: tuple[object, ...] = (x, body.rows(with_examples(at), node))
        if own is not None:
            alone, bias = matrices(own, source.type.width)
            parts = (*parts, alone)
            biases.append(bias)
        # What has no positions is small: it is not worth saying.
        factors.append(Record("Factor", parts, body.looked_up(x) if source.type.axes else {}))
    added = tuple(b for b in biases if b is not None)
    bias_sum = Record("sum", added) if added else None
    options: dict[str, Any] = {}
    width = body.nodes[node.inputs[0]].type.width
    if matrix is not None and width * node.type.width <= choices.LARGEST_OF_A_SEGMENT:
        options["in_c_from"] = choices.PAIRED_IN_C
    rows = body.rows(shape.domain, node)
    return body.make("paired", *factors, matrix, bias_sum, rows, like=node, options=options)
