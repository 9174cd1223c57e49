"""Axes made and unmade, as expressions of the emitted source.

Ragged axes are rows, moved by `ops`; static ones are dimensions, which are views or moved in place.
"""

from __future__ import annotations

from collections.abc import Callable

from specc.emit.body import Body, whole_shape
from specc.emit.code import ATOM, Expr
from specc.emit.products import bias_text, matrix_text
from specc.emit.shape import Shape
from specc.ir.graph import Node
from specc.ops.products import products_of
from specc.types.axis import Axis


def joined(body: Body, node: Node, axis: Axis) -> Expr:
    dims = body.shape(body.nodes[node.inputs[0]]).dims
    text = body.of(node.inputs[0]).at(ATOM)
    if dims[-1] != axis:
        text += f".movedim({1 + dims.index(axis)}, -2)"
    return Expr(f"{text}.flatten(-2)")


def stack(body: Body, node: Node) -> Expr:
    shape = body.shape(node)
    axis = node.attrs["axis"]
    inner = Shape(shape.domain, tuple(a for a in shape.dims if a != axis))
    parts = ", ".join(body.at(i, inner, node).text for i in node.inputs)
    return Expr(f"ops.stack([{parts}], {shape.dim(axis)})")


def _placed(body: Body, node: Node, text: str, place: int) -> Expr:
    """A dimension that now is the node's own axis, moved to where that axis belongs."""
    wanted = body.shape(node).dim(node.attrs["axis"])
    return Expr(text if place == wanted else f"{text}.movedim({place}, {wanted})")


def pairs(body: Body, node: Node) -> Expr:
    place = body.shape(body.nodes[node.inputs[0]]).dim(node.attrs["over"])
    return _placed(body, node, f"ops.pairs({body.of(node.inputs[0]).text}, {place})", place)


def moved(function: str) -> Callable[[Body, Node], Expr]:
    """rename, init, tail and take: positions of one axis as those of another."""

    def emit(body: Body, node: Node) -> Expr:
        if node.id in body.picked:
            return rows_of_product(body, *body.picked[node.id])
        old, new = node.attrs["old"], node.attrs["axis"]
        x = body.of(node.inputs[0])
        own, shape = body.shape(body.nodes[node.inputs[0]]), body.shape(node)
        if old.ragged:
            assert own.domain is not None
            assert shape.domain is not None
            of, to = body.rows(own.domain, node), body.rows(shape.domain, node)
            return Expr(f"ops.{function}({x.text}, {of}, {to}, {body.axis(old)}, {body.axis(new)})")
        place = own.dim(old)
        if node.op == "rename":
            return _placed(body, node, x.at(ATOM), place)
        start = min(1, old.size) if node.op == "tail" else 0
        return _placed(body, node, f"{x.at(ATOM)}.narrow({place}, {start}, {new.size})", place)

    return emit


def rows_of_product(body: Body, node: Node, plus: int | None) -> Expr:
    """Of a product only the rows that a node picks, and what is added to them."""
    id = node.inputs[0]
    product = body.nodes[id]
    x = body.nodes[product.inputs[0]]
    products = products_of(product, x.type.width)
    own, shape = body.shape(product).domain, body.shape(node).domain
    assert own is not None
    assert shape is not None
    axes = f"{body.axis(node.attrs['old'])}, {body.axis(node.attrs['axis'])}"
    function = "heads" if node.op == "init" else "tails"
    parts = [
        body.at(x.id, Shape(own, ()), node, whole=True).text,
        matrix_text(products, x.type.width, body.weight),
        bias_text(products) or "None",
        f"ops.{function}({body.rows(own, node)}, {body.rows(shape, node)}, {axes})",
    ]
    body.unit.lying.nowhere.add(id)
    if plus is not None:
        parts.append(body.at(plus, body.shape(node), node, whole=True).text)
        body.unit.lying.nowhere.add(node.id)
    return Expr(f"ops.product({', '.join(parts)})")


def append(body: Body, node: Node) -> Expr:
    old, new, second = node.attrs["old"], node.attrs["axis"], node.attrs["second"]
    shape = whole_shape(body.shape(node))
    if not new.ragged:
        place = shape.dim(new)
        rest = tuple(a for a in shape.dims if a != new)
        x = _with_dim(body, node, 0, Shape(shape.domain, rest), old, place)
        y = _with_dim(body, node, 1, Shape(shape.domain, rest), second, place)
        return Expr(f"ops.dense.append({x}, {y}, {place})")
    assert shape.domain is not None
    x, of_x = _as_rows(body, node, 0, shape, old)
    y, of_y = _as_rows(body, node, 1, shape, second)
    to = body.rows(shape.domain, node)
    last = "None" if second is None else body.axis(second)
    return Expr(f"ops.append({x}, {y}, {of_x}, {of_y}, {to}, {body.axis(old)}, {body.axis(new)}, {last})")


def _with_dim(body: Body, node: Node, number: int, rest: Shape, axis: Axis | None, place: int) -> str:
    """An input of `append` along a static axis, with that axis (or one of size 1) at dimension `place`."""
    id = node.inputs[number]
    own = body.shape(body.nodes[id])
    if axis is None:
        return f"{body.at(id, rest, node).at(ATOM)}.unsqueeze({place})"
    want = body.unit.shapes.dims((*rest.dims, axis))
    text = body.at(id, Shape(rest.domain if own.domain is not None else None, want), node)
    source = 1 + want.index(axis)
    return text.text if source == place else f"{text.at(ATOM)}.movedim({source}, {place})"


def _as_rows(body: Body, node: Node, number: int, shape: Shape, axis: Axis | None) -> tuple[str, str]:
    """An input of `append` along a ragged axis as packed values, and its rows."""
    id = node.inputs[number]
    own = whole_shape(body.shape(body.nodes[id]))
    assert own.domain is not None
    dims = shape.dims if axis is None or axis.ragged else body.unit.shapes.dims((*shape.dims, axis))
    x = body.at(id, Shape(own.domain, dims), node, whole=True)
    if axis is None or axis.ragged:
        return x.text, body.rows(own.domain, node)
    to = own.domain.with_axis(axis)
    name = body.axis(axis)
    of, whole = body.rows(own.domain, node), body.rows(to, node)
    return f"ops.unroll({x.text}, {of}, {whole}, {name}, {1 + dims.index(axis)})", whole


def top(body: Body, node: Node) -> Expr:
    old, new = node.attrs["old"], node.attrs["axis"]
    shape = body.shape(node)
    if not old.ragged:
        dims = body.unit.shapes.dims((*(a for a in shape.dims if a != new), old))
        inner = Shape(shape.domain, dims)
        x, score = (body.at(i, inner, node, whole=True) for i in node.inputs)
        place = inner.dim(old)
        return _placed(body, node, f"ops.dense.top({x.text}, {score.text}, {place}, {new.size})", place)
    assert shape.domain is not None
    inner = Shape(shape.domain.without(new).with_axis(old), shape.dims)
    assert inner.domain is not None
    x, score = (body.at(i, inner, node, whole=True) for i in node.inputs)
    of, to = body.rows(inner.domain, node), body.rows(shape.domain, node)
    return Expr(f"ops.top({x.text}, {score.text}, {of}, {to}, {body.axis(old)}, {body.axis(new)})")


def flatten(body: Body, node: Node) -> Expr:
    axis = node.attrs["axis"]
    if not axis.ragged:
        return joined(body, node, axis)
    own, shape = body.shape(body.nodes[node.inputs[0]]), body.shape(node)
    assert own.domain is not None
    assert shape.domain is not None
    of, to = body.rows(own.domain, node), body.rows(shape.domain, node)
    return Expr(f"ops.flatten({body.of(node.inputs[0]).text}, {of}, {to}, {body.axis(axis)})")
