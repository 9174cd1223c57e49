"""The kernels of every operation.

Promises: one function a family, entered in a table by operation. Loops are in `loops`.
"""

from __future__ import annotations

from collections.abc import Callable

from specc.ir.graph import Node, Reading, axis_of, readings
from specc.lower import choices, loops, positions, products, reading
from specc.lower.body import Body, with_examples
from specc.lower.kernels import LAYERS
from specc.lower.program import Dtype, Field, Heads, LookedUp, Matrix, Parameter, Position, Record, Value
from specc.lower.shape import Domain, Shape
from specc.ops import definition, op, pure, traits
from specc.ops.definition import Along, Called, Pointwise
from specc.ops.products import products_of
from specc.types.axis import Axis

_EXAMPLE = Domain(frozenset(), candidate=True)
Lowering = Callable[[Body, Node], Value | None]


def lowered(body: Body, node: Node) -> Value | None:
    """What a node is; None if its values are known to the body already."""
    own = _LOWERINGS.get(node.op)
    if own is not None:
        return own(body, node)
    match definition(node).lowering:
        case Pointwise():
            return _pointwise(body, node)
        case Along():
            return _along(body, node)
        case Called():
            return _aligned(body, node)
    raise AssertionError(f"nobody has said how `{node.op}` is lowered")


# -------------------------------------------------------------------- sources


def _input(body: Body, node: Node) -> Value:
    return body.make("input", body.field(node.attrs["field"], node), like=node)


def _part(body: Body, node: Node, reading: Reading) -> tuple[object, ...]:
    """The table, the ids, and how a bag becomes one."""
    mode = () if reading.mode is None else (reading.mode,)
    return Parameter(reading.table), body.field(reading.field, node, reading.mode), *mode


def _embed(body: Body, node: Node) -> Value:
    (reading,) = readings(node)
    name = "embed" if reading.mode is None else "embed_bag"
    part = _part(body, node, reading)
    found = body.make(name, *part, like=node)
    if reading.mode != "max":
        body.unit.looked_up[found] = LookedUp((part,))
    return found


def _lookup(body: Body, node: Node) -> Value | None:
    """All lookups of the function that have tables in common, as one kernel."""
    together = body.looked_up_with(node)
    if len(together) == len(node.weights) == 1:
        return _embed(body, node)
    body.values |= {one.id: body.value_of(one) for one in together}
    parts = [[_part(body, n, r) for r in readings(n)] for n in together]
    results = tuple(body.values[n.id] for n in together)
    body.unit.looked_up |= {r: LookedUp(tuple(p)) for r, p in zip(results, parts, strict=True)}
    body.statement("lookup", *parts, results=results, span=node)
    return None


def _rows(body: Body, node: Node) -> Value:
    return body.make("whole", Parameter(node.weights[0]), like=node)


def _learned(body: Body, node: Node) -> Value:
    """The ragged axes of the parameter are read by position, the static ones become dimensions."""
    axes: tuple[Axis, ...] = node.attrs["axes"]
    ragged = [a for a in axes if a.ragged]
    order = [axes.index(a) for a in (*ragged, *body.unit.shapes.dims(axes))] + [len(axes)]
    turned = tuple(order) if order != sorted(order) else ()
    weight = Parameter(node.weights[0])
    if not ragged:
        return body.make("learned", weight, *turned, like=node)
    domain = body.shape(node).domain
    assert domain is not None
    rows = body.rows(domain, node)
    return body.make("along", weight, *turned, *(Position(rows, a) for a in ragged), like=node)


def _constant(body: Body, node: Node) -> Value:
    return body.number(float(node.attrs["value"]))


def _label(body: Body, node: Node) -> Value:
    return body.make("label", Field(node.attrs["prediction"], "label", node.device), like=node)


def _across(body: Body, node: Node) -> Value:
    shape, axis = body.shape(node), node.attrs["axis"]
    dims = tuple(a for a in shape.dims if a != axis)
    x = body.at(node.inputs[0], Shape(_EXAMPLE, dims), node, whole=True)
    return body.make("across", x, shape.dim(axis), like=node, view=x)


def _across_each(body: Body, node: Node) -> Value:
    source, shape = body.shape(body.nodes[node.inputs[0]]), body.shape(node)
    assert source.domain is not None
    assert shape.domain is not None
    x = body.at(node.inputs[0], Shape(source.domain, shape.dims), node, whole=True)
    rows = body.rows(source.domain, node), body.rows(shape.domain, node)
    return body.make("across_each", x, *rows, node.attrs["old"], node.attrs["new"], like=node)


def _to_rows(body: Body, node: Node) -> Value:
    old, axis, shape = node.attrs["old"], node.attrs["axis"], body.shape(node)
    assert shape.domain is not None
    of = Shape(shape.domain.without(axis), body.unit.shapes.dims((*shape.dims, old)))
    assert of.domain is not None
    x = body.at(node.inputs[0], of, node, whole=True)
    rows = body.rows(of.domain, node), body.rows(shape.domain, node)
    return body.make("unroll", x, *rows, axis, of.dim(old), like=node)


def _from_rows(body: Body, node: Node) -> Value:
    old, shape = node.attrs["old"], body.shape(node)
    assert shape.domain is not None
    of = shape.domain.with_axis(old)
    inner = Shape(of, tuple(a for a in shape.dims if a != node.attrs["axis"]))
    x = body.at(node.inputs[0], inner, node, whole=True)
    rows = body.rows(of, node), body.rows(shape.domain, node)
    view = None if shape.domain.axes else x
    return body.make("from_rows", x, *rows, old, shape.dim(node.attrs["axis"]), like=node, view=view)


def _own(body: Body, node: Node) -> Value:
    return body.make("own", body.rows(_EXAMPLE, node), like=node, dtype="mask")


def _log_frequency(body: Body, node: Node) -> Value:
    field = body.field(node.attrs["field"], node)
    return body.make("log_frequency", Parameter(node.weights[0]), field, like=node)


def _row_loss(body: Body, node: Node) -> Value:
    table, counts, *bias = node.weights
    x, label = (body.at(i, body.shape(node), node, whole=True) for i in node.inputs)
    parts: list[object] = [Parameter(table), Parameter(counts)]
    parts += [Parameter(bias[0]) if bias else None, node.attrs["first"]]
    options = {"sampled": Record("in_training", (node.attrs["sampled"],))} if node.attrs["sampled"] else {}
    return body.make("row_loss", x, label, *parts, like=node, options=options)


def _key(body: Body, node: Node) -> Value:
    return body.make("keys", body.field(node.attrs["field"], node), like=node)


def _index(body: Body, node: Node) -> Value:
    axis = node.attrs["axis"]
    shape = body.shape(node)
    if not axis.ragged:
        own = body.make("positions", axis.size, *body.on(node), like=node)
        return body.spread(own, (axis,), shape.dims)
    assert shape.domain is not None
    return body.make("numbers", Position(body.rows(shape.domain, node), axis), like=node)


def _length(body: Body, node: Node) -> Value:
    axis = node.attrs["axis"]
    if not axis.ragged:
        return body.number(float(axis.size))
    shape = body.shape(node)
    assert shape.domain is not None
    return body.make("numbers", Position(body.rows(shape.domain, node, axis), axis, length=True), like=node)


# ------------------------------------------------------------------ pointwise


def _pointwise(body: Body, node: Node) -> Value:
    """Channel by channel; numbers that are known stay numbers where there is an operator for them."""
    how = definition(node).lowering
    assert isinstance(how, Pointwise)
    shape = body.shape(node)
    if (traits(node).condition and how.infix in ("&", "|")) or how.prefix == "~":
        given = [body.mask(i, shape, node) for i in node.inputs]
    elif how.infix:
        given = [body.pointwise(i, shape, node) for i in node.inputs]
        if all(x.dtype == "number" for x in given):
            given[0] = body.of(node.inputs[0])
    else:
        # What is not pure, such as a draw, is of each example also where its inputs are the same in all.
        given = [body.at(i, shape, node, whole=not pure(node)) for i in node.inputs]
    slots = zip(definition(node).inputs, given, strict=True)
    # What a text names twice is computed once.
    given = [body.hold(x, s.name) if how.python.count(f"{{{s.name}}}") > 1 else x for s, x in slots]
    dtype: Dtype = "mask" if traits(node).condition else "real"
    return body.make(node.op, *given, *node.attrs.values(), like=node, dtype=dtype)


def _add(body: Body, node: Node) -> Value:
    if node.id in body.fusions.added:
        return _product_added(body, node, *body.fusions.added[node.id])
    if node.id in body.fusions.picked:
        return positions.rows_of_product(body, node, *body.fusions.picked[node.id])
    return _pointwise(body, node)


def _product_added(body: Body, node: Node, place: int, id: int) -> Value:
    """A product added to a value, in its place."""
    into = body.at(place, body.shape(node), node, whole=True)
    product = body.nodes[id]
    matrix, _ = body.matrices(product)
    x = body.of(product.inputs[0])
    options = _in_c(x.width, node.type.width)
    return body.make("add_product", into, x, matrix, like=node, over=into, options=options)


def _stop_gradient(body: Body, node: Node) -> Value:
    x = body.of(node.inputs[0])
    return body.make(node.op, x, like=node, view=x)


# --------------------------------------------------------------------- widths


def _concat(body: Body, node: Node) -> Value:
    shape = body.shape(node)
    own = [body.shape(body.nodes[i]) for i in node.inputs]
    parts = [body.at(i, shape, node) for i in node.inputs]
    alike = all(s.domain is not None or shape.domain is None for s in own) and not body.flat
    if alike and all(s.dims == shape.dims for s in own):
        return body.make("cat", parts, like=node)
    return body.make("concat", *parts, like=node)


def _slice(body: Body, node: Node) -> Value:
    x = body.of(node.inputs[0])
    return body.make("slice", x, node.attrs["start"], node.attrs["stop"], like=node, view=x)


def _split(body: Body, node: Node) -> Value:
    axis, x = node.attrs["axis"], body.of(node.inputs[0])
    dims = body.shape(node).dims
    moved = (1 + dims.index(axis),) if dims[-1] != axis else ()
    return body.make("split", x, axis.size, node.type.width, *moved, like=node, view=x)


def _join(body: Body, node: Node) -> Value:
    return positions.joined(body, node, node.attrs["axis"])


def _aligned(body: Body, node: Node) -> Value:
    shape = body.shape(node)
    return body.make(node.op, *(body.at(i, shape, node) for i in node.inputs), like=node)


# ----------------------------------------------------------------- reductions


def _along(body: Body, node: Node) -> Value:
    """Along an axis, or over channels."""
    axis = axis_of(node)
    attrs = {name: value for name, value in node.attrs.items() if name != "axis"}
    id, *where = node.inputs
    ends = node.op in (op.LAST, op.FIRST) and not where
    if axis is None:
        x = body.of(id)
        return body.make(f"channels.{node.op}", x, like=node, view=x if ends else None, options=attrs)
    shape = body.shape(node)
    if not axis.ragged:
        inner = Shape(shape.domain, body.unit.shapes.dims(frozenset((*shape.dims, axis))))
        x = body.at(id, inner, node)
        masks = [body.mask(i, inner, node) for i in where]
        name = f"{'dense' if where else 'along'}.{node.op}"
        view = x if ends else None
        return body.make(name, x, inner.dim(axis), *masks, like=node, view=view, options=attrs)
    domain = _with_axis(shape, axis)
    inner = Shape(domain, shape.dims)
    parts = (body.at(id, inner, node, whole=True), body.rows(domain, node), axis)
    masks = [body.mask(i, inner, node) for i in where]
    return body.make(f"segment.{node.op}", *parts, *masks, like=node, options=attrs)


def _with_axis(shape: Shape, axis: Axis) -> Domain:
    assert shape.domain is not None
    return shape.domain.with_axis(axis)


# --------------------------------------------------------------------- layers


def _layer(body: Body, node: Node) -> Value:
    """A layer that is a module of its own."""
    x = body.of(node.inputs[0])
    if node.op in (op.BATCH_NORM, op.DICE):
        x = body.at(node.inputs[0], body.shape(node), node, whole=True)
    layer = Parameter(node.weights[0].rpartition(".")[0], layer=True)
    if node.op == op.LINEAR:
        return body.make(node.op, layer, x, like=node, options=_in_c(x.width, node.type.width))
    if node.op == op.BATCH_NORM_BY:
        given = (body.at(i, body.shape(node), node, whole=True) for i in node.inputs)
        return body.make(node.op, layer, *given, like=node)
    return body.make(node.op, layer, x, like=node)


def _dropout(body: Body, node: Node) -> Value:
    x = body.at(node.inputs[0], body.shape(node), node, whole=True)
    return body.make("dropout", x, node.attrs["p"], like=node)


def _bernoulli(body: Body, node: Node) -> Value:
    p = body.at(node.inputs[0], body.shape(node), node, whole=True)
    return body.make("bernoulli", p, like=node)


def _project(body: Body, node: Node) -> Value:
    x = body.of(node.inputs[0])
    matrix, bias = body.matrices(node)
    if len({bool(p.bias) for p in matrix.products}) == 1:
        options = _in_c(x.width, node.type.width)
        return body.make("product_of", x, matrix, *([bias] if bias else []), like=node, options=options)
    parts = []
    for product in products_of(node, matrix.width):
        own = [Matrix((product,), matrix.width, bias=True)] if product.bias else []
        each = Matrix((product,), matrix.width)
        options = _in_c(x.width, product.width)
        parts.append(body.make("product_of", x, each, *own, like=node, width=product.width, options=options))
    return body.make("cat", parts, like=node)


def _in_c(width: int, outputs: int) -> dict[str, object]:
    """From where on a product is computed in C, as an option; none where it never is."""
    narrow = min(width, outputs) < choices.NARROWEST_IN_C
    return {} if narrow else {"in_c_from": choices.PRODUCTS_IN_C}


def _heads(body: Body, node: Node) -> Value:
    axis, x = node.attrs["axis"], body.of(node.inputs[0])
    matrices = Heads(node.attrs["slabs"], node.attrs["transposed"], axis is not None)
    if axis is None:
        return body.make("matmul", x, matrices, like=node)
    name = "per_head" if body.nodes[node.inputs[0]].type.has(axis) else "fan"
    return body.make(name, x, matrices, body.shape(node).dim(axis), like=node)


def _attention(body: Body, node: Node) -> Value:
    query_axis, key_axis = node.attrs["query_axis"], node.attrs["key_axis"]
    shape = body.shape(node)
    assert shape.domain is not None
    asked = shape.domain
    known = (asked if query_axis is None else asked.without(query_axis)).with_axis(key_axis)
    query, key, value = node.inputs
    wanted = ((query, asked, query_axis), (key, known, key_axis), (value, known, key_axis))
    parts: list[object] = [_asked(body, node, *one) for one in wanted]
    if value == key:
        parts[2] = None
    parts += [
        body.rows(asked, node),
        body.rows(known, node),
        query_axis,
        key_axis,
        node.attrs["scale"],
    ]
    options = {}
    if node.attrs["where"] != "all":
        parts.append(node.attrs["where"])
    if query_axis is not None:
        options["in_c_from"] = choices.SELF_ATTENTION_IN_C
    elif node.attrs["where"] == "all":
        options["in_c_from"] = choices.ATTENTION_IN_C
    if node.id in body.fusions.ended:
        options["by_request_from"] = choices.ATTENTION_BY_REQUEST
    return body.make("attend", *parts, like=node, options=options)


def _asked(body: Body, node: Node, id: int, domain: Domain, axis: Axis | None) -> Value | Record:
    """What an attention reads: a value, or a history and a candidate's value at its end."""
    dims = body.shape(node).dims
    end = body.fusions.ended.get(node.id, {}).get(id)
    if end is None:
        return body.at(id, Shape(domain, dims), node, whole=True)
    rows = [with_examples(body.shape(body.nodes[i])) for i in end.inputs]
    two = [body.at(i, Shape(d, dims), node, whole=True) for i, d in zip(end.inputs, rows, strict=True)]
    places = (body.rows(d, node) for d in (*rows, domain))
    return Record("Ended", (*two, *places, end.attrs["old"], axis))


def _transfer(body: Body, node: Node) -> Value:
    x = body.of(node.inputs[0])
    return body.passed_on(x, body.make("transfer", x, *body.on(node), like=node))


_LOWERINGS: dict[str, Lowering] = {
    op.INPUT: _input,
    op.EMBED: _embed,
    op.EMBED_BAG: _embed,
    op.ROWS: _rows,
    op.LOOKUP: _lookup,
    op.LEARNED: _learned,
    op.CONSTANT: _constant,
    op.LABEL: _label,
    op.ACROSS: _across,
    op.ACROSS_EACH: _across_each,
    op.TO_ROWS: _to_rows,
    op.FROM_ROWS: _from_rows,
    op.OWN: _own,
    op.KEY: _key,
    op.ROW_LOSS: _row_loss,
    op.LOG_FREQUENCY: _log_frequency,
    op.INDEX: _index,
    op.LENGTH: _length,
    op.ADD: _add,
    op.STOP_GRADIENT: _stop_gradient,
    op.CONCAT: _concat,
    op.SLICE: _slice,
    op.SPLIT: _split,
    op.JOIN: _join,
    op.STACK: positions.stack,
    op.PAIRS: positions.pairs,
    op.FIRSTS: positions.pairs,
    op.SECONDS: positions.pairs,
    op.RENAME: positions.moved("rename"),
    op.INIT: positions.moved("head"),
    op.TAIL: positions.moved("tail"),
    op.TAKE: positions.moved("head"),
    op.CHUNK: positions.moved("chunk"),
    op.UNCHUNK: positions.moved("unchunk"),
    op.APPEND: positions.append,
    op.TOP: positions.top,
    op.RANKED: positions.ranked,
    op.PICKED: positions.picked,
    op.FLATTEN: positions.flatten,
    op.AT: reading.at,
    op.WINDOWS: reading.windows,
    op.CONVOLVE: reading.convolve,
    **dict.fromkeys(LAYERS, _layer),
    op.DROPOUT: _dropout,
    op.BERNOULLI: _bernoulli,
    op.PROJECT: _project,
    op.HEADS: _heads,
    op.ATTENTION: _attention,
    op.TRANSFER: _transfer,
    op.SCAN: loops.scan,
    op.RECURRENCE: loops.recurrence,
    op.SCAN_OUT: loops.scan_out,
    op.TILED: loops.tiled,
    op.WEIGHTED_SUM: products.weighted_sum,
    op.PAIRED: products.paired,
    op.CONTRACT: products.contract,
    op.DOT: products.dot,
}
