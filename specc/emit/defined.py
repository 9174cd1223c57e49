"""Operations that are printed just as their definitions say: those of other packages.

Promises: the texts of a definition, with a node's inputs and attributes in their places. Leaves the
operations of the compiler to `operations`.
"""

from __future__ import annotations

from specc.emit.body import Body
from specc.emit.code import ATOM, Expr
from specc.emit.shape import Shape
from specc.ir.graph import Node, axis_of
from specc.ops import definition
from specc.ops.definition import Along, Called, Pointwise


def defined(body: Body, node: Node) -> Expr:
    """A node by its definition's texts."""
    known = definition(node)
    body.unit.imports.update(known.imports)
    match known.lowering:
        case Pointwise():
            return _pointwise(body, node, known.lowering)
        case Along():
            return _along(body, node, known.lowering)
        case Called(function):
            shape = body.shape(node)
            return Expr(f"{function}({', '.join(body.at(i, shape, node).text for i in node.inputs)})")
    raise AssertionError(f"{node.op} is not said how to print")


def _attributes(node: Node) -> dict[str, str]:
    return {name: repr(value) for name, value in node.attrs.items() if name != "axis"}


def _pointwise(body: Body, node: Node, how: Pointwise) -> Expr:
    shape = body.shape(node)
    given = {
        slot.name: body.at(id, shape, node).at(ATOM)
        for slot, id in zip(definition(node).inputs, node.inputs, strict=True)
    }
    return Expr(f"({how.python})".format(**given, **_attributes(node)))


def _along(body: Body, node: Node, how: Along) -> Expr:
    axis, attributes = axis_of(node), _attributes(node)
    id, *where = node.inputs
    if axis is None:
        return Expr(how.channels.format(x=body.of(id).at(ATOM), **attributes))
    shape = body.shape(node)
    if not axis.ragged:
        inner = Shape(shape.domain, body.unit.shapes.dims(frozenset((*shape.dims, axis))))
        x, dim = body.at(id, inner, node).at(ATOM), inner.dim(axis)
        if not where:
            return Expr(how.dense.format(x=x, dim=dim, **attributes))
        mask = body.mask(where[0], inner, node).text
        return Expr(how.dense_where.format(x=x, dim=dim, mask=mask, **attributes))
    assert shape.domain is not None
    domain = shape.domain.with_axis(axis)
    inner = Shape(domain, shape.dims)
    x = body.at(id, inner, node, whole=True).text
    masks = "".join(f", {body.mask(i, inner, node).text}" for i in where)
    rows = body.rows(domain, node)
    return Expr(how.ragged.format(x=x, rows=rows, axis=body.axis(axis), where=masks, **attributes))
