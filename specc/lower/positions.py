"""The kernels of axes made and unmade.

Ragged axes are rows, moved by `ops`; static ones are dimensions, which are views or moved in place.
"""

from __future__ import annotations

from collections.abc import Callable

from specc.ir.graph import Node
from specc.lower import choices
from specc.lower.body import Body, with_examples
from specc.lower.program import Record, Rows, Value
from specc.lower.shape import Shape, whole_shape
from specc.ops import op
from specc.types.axis import Axis


def joined(body: Body, node: Node, axis: Axis) -> Value:
    dims = body.shape(body.nodes[node.inputs[0]]).dims
    x = body.of(node.inputs[0])
    # With the axis beside the channels that is a view.
    if dims[-1] == axis:
        return body.make("join", x, like=node, view=x)
    return body.make("join", x, 1 + dims.index(axis), like=node)


def stack(body: Body, node: Node) -> Value:
    shape = body.shape(node)
    axis = node.attrs["axis"]
    inner = Shape(shape.domain, tuple(a for a in shape.dims if a != axis))
    return body.make("stack", [body.at(i, inner, node) for i in node.inputs], shape.dim(axis), like=node)


def _with_own(body: Body, node: Node, place: int) -> Shape:
    """The node's shape with its own axis at dimension `place`."""
    shape, axis = body.shape(node), node.attrs["axis"]
    rest = [a for a in shape.dims if a != axis]
    return Shape(shape.domain, (*rest[: place - 1], axis, *rest[place - 1 :]))


def _placed(body: Body, node: Node, value: Value, place: int) -> Value:
    """A dimension that now is the node's own axis, moved to where that axis belongs."""
    wanted = body.shape(node).dim(node.attrs["axis"])
    return value if place == wanted else body.make("movedim", value, place, wanted, like=node, view=value)


def pairs(body: Body, node: Node) -> Value:
    """pairs, firsts and seconds."""
    place = body.shape(body.nodes[node.inputs[0]]).dim(node.attrs["over"])
    shape = _with_own(body, node, place)
    options = {"in_c_from": choices.PAIRS_IN_C} if node.op == op.PAIRS else {}
    made = body.make(node.op, body.of(node.inputs[0]), place, like=node, shape=shape, options=options)
    return _placed(body, node, made, place)


def moved(function: str) -> Callable[[Body, Node], Value]:
    """rename, init, tail, take, chunks and their inverse: positions of one axis as those of another."""

    def lower(body: Body, node: Node) -> Value:
        if node.id in body.fusions.picked:
            return rows_of_product(body, node, *body.fusions.picked[node.id])
        old, new = node.attrs["old"], node.attrs["axis"]
        x = body.of(node.inputs[0])
        own, shape = body.shape(body.nodes[node.inputs[0]]), body.shape(node)
        if old.ragged:
            assert own.domain is not None
            assert shape.domain is not None
            of, to = body.rows(own.domain, node), body.rows(shape.domain, node)
            view = x if function in (op.RENAME, op.CHUNK, op.UNCHUNK) else None
            return body.make(function, x, of, to, old, new, like=node, view=view)
        place = own.dim(old)
        if node.op == op.RENAME:
            return _placed(body, node, x, place)
        start = min(1, old.size) if node.op == op.TAIL else 0
        inner = _with_own(body, node, place)
        part = body.make("narrow", x, place, start, new.size, like=node, shape=inner, view=x)
        return _placed(body, node, part, place)

    return lower


def rows_of_product(body: Body, node: Node, picks: Node, plus: int | None) -> Value:
    """Of a product only the rows that a node picks, and what is added to them."""
    product = body.nodes[picks.inputs[0]]
    own, shape = body.shape(product).domain, body.shape(picks).domain
    assert own is not None
    assert shape is not None
    matrix, bias = body.matrices(product)
    rows = body.rows(own, picks), body.rows(shape, picks)
    function = "heads" if picks.op == op.INIT else "tails"
    x = body.at(product.inputs[0], Shape(own, ()), picks, whole=True)
    parts: list[object] = [
        x,
        matrix,
        bias,
        Record(function, (*rows, picks.attrs["old"], picks.attrs["axis"])),
    ]
    if plus is not None:
        parts.append(body.at(plus, body.shape(picks), picks, whole=True))
    return body.make("product", *parts, like=node, options=body.looked_up(x))


def append(body: Body, node: Node) -> Value:
    old, new, second = node.attrs["old"], node.attrs["axis"], node.attrs["second"]
    shape = whole_shape(body.shape(node))
    if not new.ragged:
        place = shape.dim(new)
        rest = tuple(a for a in shape.dims if a != new)
        x = _with_dim(body, node, 0, Shape(shape.domain, rest), old, place)
        y = _with_dim(body, node, 1, Shape(shape.domain, rest), second, place)
        return body.make("dense.append", x, y, place, like=node)
    assert shape.domain is not None
    x, of_x = _as_rows(body, node, 0, shape, old)
    y, of_y = _as_rows(body, node, 1, shape, second)
    to = body.rows(shape.domain, node)
    return body.make("append", x, y, of_x, of_y, to, old, new, second, like=node)


def _with_dim(body: Body, node: Node, number: int, rest: Shape, axis: Axis | None, place: int) -> Value:
    """An input of `append` along a static axis, with that axis (or one of size 1) at dimension `place`."""
    id = node.inputs[number]
    own = body.shape(body.nodes[id])
    if axis is None:
        x = body.at(id, rest, node)
        dims = (*rest.dims[: place - 1], node.attrs["axis"], *rest.dims[place - 1 :])
        return body.make("unsqueeze", x, place, like=x, shape=Shape(x.shape.domain, dims), view=x)
    want = body.unit.shapes.dims((*rest.dims, axis))
    x = body.at(id, Shape(rest.domain if own.domain is not None else None, want), node)
    source = 1 + want.index(axis)
    if source == place:
        return x
    dims = (*rest.dims[: place - 1], axis, *rest.dims[place - 1 :])
    return body.make("movedim", x, source, place, like=x, shape=Shape(x.shape.domain, dims), view=x)


def _as_rows(body: Body, node: Node, number: int, shape: Shape, axis: Axis | None) -> tuple[Value, Rows]:
    """An input of `append` along a ragged axis as packed values, and its rows."""
    id = node.inputs[number]
    own = with_examples(body.shape(body.nodes[id]))
    dims = shape.dims if axis is None or axis.ragged else body.unit.shapes.dims((*shape.dims, axis))
    x = body.at(id, Shape(own, dims), node, whole=True)
    of = body.rows(own, node)
    if axis is None or axis.ragged:
        return x, of
    to = own.with_axis(axis)
    whole = body.rows(to, node)
    unrolled = Shape(to, tuple(a for a in dims if a != axis))
    return body.make("unroll", x, of, whole, axis, 1 + dims.index(axis), like=x, shape=unrolled), whole


def top(body: Body, node: Node) -> Value:
    old, new = node.attrs["old"], node.attrs["axis"]
    shape = body.shape(node)
    if not old.ragged:
        dims = body.unit.shapes.dims((*(a for a in shape.dims if a != new), old))
        inner = Shape(shape.domain, dims)
        x, score = (body.at(i, inner, node, whole=True) for i in node.inputs)
        place = inner.dim(old)
        best = body.make(
            "dense.top", x, score, place, new.size, like=node, shape=_with_own(body, node, place)
        )
        return _placed(body, node, best, place)
    assert shape.domain is not None
    inner = Shape(shape.domain.without(new).with_axis(old), shape.dims)
    assert inner.domain is not None
    of, to = body.rows(inner.domain, node), body.rows(shape.domain, node)
    score = body.at(node.inputs[1], inner, node, whole=True)
    own = body.shape(body.nodes[node.inputs[0]])
    if own.domain not in (None, inner.domain) and not body.shape(body.nodes[node.inputs[1]]).dims:
        # What is chosen is read where it is: a history is not copied for each candidate.
        assert own.domain is not None
        x = body.at(node.inputs[0], Shape(own.domain, shape.dims), node)
        return body.make("top", x, score, of, to, old, new, body.rows(own.domain, node), like=node)
    x = body.at(node.inputs[0], inner, node, whole=True)
    return body.make("top", x, score, of, to, old, new, like=node)


def ranked(body: Body, node: Node) -> Value:
    old, new = node.attrs["old"], node.attrs["axis"]
    shape = body.shape(node)
    assert shape.domain is not None
    inner = Shape(shape.domain.without(new).with_axis(old), ())
    assert inner.domain is not None
    score = body.at(node.inputs[0], inner, node, whole=True)
    of, to = body.rows(inner.domain, node), body.rows(shape.domain, node)
    return body.rank(node, body.make("ranked", score, of, to, old, new, like=node), to)


def picked(body: Body, node: Node) -> Value:
    x, own, shape = node.inputs[0], body.shape(body.nodes[node.inputs[0]]), body.shape(node)
    assert own.domain is not None
    assert shape.domain is not None
    of, to = body.rows(own.domain, node), body.rows(shape.domain, node)
    return body.make("picked", body.of(x), of, to, node.attrs["old"], node.attrs["axis"], like=node)


def flatten(body: Body, node: Node) -> Value:
    axis = node.attrs["axis"]
    if not axis.ragged:
        return joined(body, node, axis)
    own, shape = body.shape(body.nodes[node.inputs[0]]), body.shape(node)
    assert own.domain is not None
    assert shape.domain is not None
    of, to = body.rows(own.domain, node), body.rows(shape.domain, node)
    return body.make("flatten", body.of(node.inputs[0]), of, to, axis, like=node)
