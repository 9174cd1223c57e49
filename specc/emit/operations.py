"""Every operation as an expression of the emitted source.

Promises: one function a family, entered in a table by operation; a node becomes an expression over what its
inputs already are. Loops are in `loops`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from specc.emit import loops, positions
from specc.emit.body import FRESH, Body, whole_shape
from specc.emit.code import (
    ATOM,
    BOTH,
    COMPARISON,
    EITHER,
    POWER,
    PRODUCT,
    SUM,
    UNARY,
    Expr,
    infix,
    number,
    quoted,
    target,
)
from specc.emit.defined import defined
from specc.emit.names import attribute
from specc.emit.products import bias_text, heads_text, matrix_text, product_text
from specc.emit.shape import Domain, Shape
from specc.ir.graph import Node, Reading, axis_of, readings
from specc.ops.products import Product, products_of
from specc.types.axis import Axis

Emitter = Callable[[Body, Node], Expr | None]

_ARITHMETIC = {
    "add": ("+", SUM),
    "sub": ("-", SUM),
    "mul": ("*", PRODUCT),
    "div": ("/", PRODUCT),
}
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_FUNCTIONS = {
    **{name: f"torch.{name}" for name in ("exp", "log", "sqrt", "abs", "tanh", "sigmoid", "relu")},
    "silu": "F.silu",
    "gelu": "F.gelu",
}

# Functions whose derivative reads their result alone: of a fresh value that nothing else reads, they take the
# place.
_IN_PLACE = frozenset({"tanh", "sigmoid", "relu"})


def expression(body: Body, node: Node) -> Expr | None:
    """What a node is; None if it has been said as statements, and its values are known to the body."""
    return _EMITTERS.get(node.op, defined)(body, node)


# -------------------------------------------------------------------- sources


def _input(body: Body, node: Node) -> Expr:
    return Expr(f"{batch_of(body, node)}.column({quoted(node.attrs['field'])}).to(self.dtype)")


def batch_of(body: Body, node: Node) -> str:
    """The batch as it is read on a node's device."""
    return "batch" if node.device is None else f"batch.on({body.device(node.device)})"


def ids_of(body: Body, node: Node, reading: Reading) -> str:
    """What a batch holds of a field that a node looks up: ids, or a bag of them."""
    kind = "column" if reading.mode is None else "bag"
    return f"{batch_of(body, node)}.{kind}({quoted(reading.field)})"


def _part(body: Body, node: Node, reading: Reading) -> str:
    """The table, the ids, and how a bag becomes one."""
    parts = [attribute(reading.table), ids_of(body, node, reading)]
    return ", ".join(parts if reading.mode is None else [*parts, quoted(reading.mode)])


def _embed(body: Body, node: Node) -> Expr:
    (reading,) = readings(node)
    return Expr(f"ops.{'embed' if reading.mode is None else 'embed_bag'}({_part(body, node, reading)})")


def _lookup(body: Body, node: Node) -> Expr | None:
    """All lookups of the function that have tables in common, as one statement."""
    together = body.looked_up_with(node)
    if len(together) == len(node.weights) == 1:
        return _embed(body, node)
    names = []
    for one in together:
        names.append(body.name_of(one))
        body.values[one.id] = Expr(names[-1])
        body.unit.lying.named.add(one.id)
    values = ("[" + ", ".join(f"({_part(body, n, r)})" for r in readings(n)) + "]" for n in together)
    body.say(f"{target(names)} = ops.lookup({', '.join(values)})", node)
    return None


def _learned(body: Body, node: Node) -> Expr:
    """The ragged axes of the parameter are read by position, the static ones become dimensions."""
    axes: tuple[Axis, ...] = node.attrs["axes"]
    ragged = [a for a in axes if a.ragged]
    order = [axes.index(a) for a in (*ragged, *body.unit.shapes.dims(axes))] + [len(axes)]
    weight = attribute(node.weights[0])
    if order != sorted(order):
        weight = f"{weight}.permute({', '.join(map(str, order))})"
    if not ragged:
        return Expr(f"{weight}.unsqueeze(0)")
    domain = body.shape(node).domain
    assert domain is not None
    rows = body.rows(domain, node)
    positions = ", ".join(f"{rows}.position({body.axis(a)})" for a in ragged)
    return Expr(f"ops.along({weight}, {positions})")


def _constant(body: Body, node: Node) -> Expr:
    return number(float(node.attrs["value"]))


def _label(body: Body, node: Node) -> Expr:
    return Expr(f"self.label({batch_of(body, node)}.labels[{quoted(node.attrs['prediction'])}])")


def _index(body: Body, node: Node) -> Expr:
    axis = node.attrs["axis"]
    shape = body.shape(node)
    if not axis.ragged:
        own = Expr(f"self.positions({axis.size}{body.on(node)})")
        return body.spread(own, (axis,), shape.dims)
    assert shape.domain is not None
    return Expr(f"self.numbers({body.rows(shape.domain, node)}.position({body.axis(axis)}))")


def _length(body: Body, node: Node) -> Expr:
    axis = node.attrs["axis"]
    if not axis.ragged:
        return number(float(axis.size))
    shape = body.shape(node)
    assert shape.domain is not None
    return Expr(f"self.numbers({body.rows(shape.domain, node)}.lengths_of({body.axis(axis)}))")


# ------------------------------------------------------------------ pointwise


def _operands(body: Body, node: Node) -> list[Expr]:
    """Inputs that broadcast; of numbers alone the first becomes a tensor."""
    shape = body.shape(node)
    found = [body.pointwise(i, shape, node) for i in node.inputs]
    if all(f.literal for f in found):
        found[0] = body.of(node.inputs[0])
    return found


def _arithmetic(body: Body, node: Node) -> Expr:
    if node.id in body.added:
        return _product_added(body, node, *body.added[node.id])
    if node.id in body.picked:
        return positions.rows_of_product(body, *body.picked[node.id])
    a, b = _operands(body, node)
    return infix(a, _ARITHMETIC[node.op][0], b, _ARITHMETIC[node.op][1])


def _product_added(body: Body, node: Node, place: int, id: int) -> Expr:
    """A product added to a value, in its place."""
    product = body.nodes[id]
    x = body.nodes[product.inputs[0]]
    into = body.at(place, body.shape(node), node, whole=True)
    body.unit.lying.over[node.id] = place
    body.unit.lying.nowhere.add(id)
    matrix = matrix_text(products_of(product, x.type.width), x.type.width, body.weight)
    return Expr(f"ops.add_product({into.text}, {body.of(x.id).text}, {matrix})")


def _pow(body: Body, node: Node) -> Expr:
    a, b = _operands(body, node)
    return Expr(f"{a.at(ATOM)} ** {b.at(UNARY)}", POWER)


def _comparison(body: Body, node: Node) -> Expr:
    a, b = _operands(body, node)
    text = f"{a.at(COMPARISON + 1)} {_COMPARISONS[node.op]} {b.at(COMPARISON + 1)}"
    return Expr(text, COMPARISON, boolean=True)


def _both(body: Body, node: Node) -> Expr:
    shape = body.shape(node)
    a, b = (body.mask(i, shape, node) for i in node.inputs)
    sign, level = ("&", BOTH) if node.op == "and" else ("|", EITHER)
    return infix(a, sign, b, level, boolean=True)


def _not(body: Body, node: Node) -> Expr:
    mask = body.mask(node.inputs[0], body.shape(node), node)
    return Expr(f"~{mask.at(UNARY)}", UNARY, boolean=True)


def _neg(body: Body, node: Node) -> Expr:
    return Expr(f"-{body.of(node.inputs[0]).at(UNARY)}", UNARY)


def _function(body: Body, node: Node) -> Expr:
    x = body.of(node.inputs[0])
    if node.op in _IN_PLACE and _taken(body, node):
        return Expr(f"{x.at(ATOM)}.{node.op}_()")
    return Expr(f"{_FUNCTIONS[node.op]}({x.text})")


def _taken(body: Body, node: Node) -> bool:
    """Whether a function may take the place of its input."""
    (id,) = node.inputs
    # What another function computed has a path for a name.
    path = re.fullmatch(r"\w+(\.\w+)+", body.values[id].text) is not None
    taken = body.nodes[id].op in FRESH and body.reads(id) == 1 and not path
    if taken:
        body.unit.lying.over[node.id] = id
    return taken


def _stop_gradient(body: Body, node: Node) -> Expr:
    return Expr(f"{body.of(node.inputs[0]).at(ATOM)}.detach()")


def _leaky_relu(body: Body, node: Node) -> Expr:
    # The derivative follows from the result if its sign does.
    place = ", inplace=True" if node.attrs["slope"] >= 0 and _taken(body, node) else ""
    return Expr(f"F.leaky_relu({body.of(node.inputs[0]).text}, {node.attrs['slope']!r}{place})")


# --------------------------------------------------------------------- widths


def _aligned(body: Body, node: Node) -> str:
    shape = body.shape(node)
    return ", ".join(body.at(i, shape, node).text for i in node.inputs)


def _concat(body: Body, node: Node) -> Expr:
    shape = body.shape(node)
    own = [body.shape(body.nodes[i]) for i in node.inputs]
    parts = [body.at(i, shape, node).text for i in node.inputs]
    alike = all(s.domain is not None or shape.domain is None for s in own) and not body.flat
    if alike and all(s.dims == shape.dims for s in own):
        return Expr(f"torch.cat([{', '.join(parts)}], -1)")
    return Expr(f"ops.concat({', '.join(parts)})")


def _slice(body: Body, node: Node) -> Expr:
    return Expr(f"{body.of(node.inputs[0]).at(ATOM)}[..., {node.attrs['start']}:{node.attrs['stop']}]")


def _split(body: Body, node: Node) -> Expr:
    axis = node.attrs["axis"]
    text = f"{body.of(node.inputs[0]).at(ATOM)}.unflatten(-1, ({axis.size}, {node.type.width}))"
    dims = body.shape(node).dims
    if dims[-1] != axis:
        text += f".movedim(-2, {1 + dims.index(axis)})"
    return Expr(text)


def _join(body: Body, node: Node) -> Expr:
    return positions.joined(body, node, node.attrs["axis"])


def _called(function: str) -> Emitter:
    def emit(body: Body, node: Node) -> Expr:
        return Expr(f"{function}({_aligned(body, node)})")

    return emit


# ----------------------------------------------------------------- reductions

_CHANNELS = {
    "sum": "{x}.sum(-1, keepdim=True)",
    "mean": "{x}.mean(-1, keepdim=True)",
    "max": "{x}.amax(-1, keepdim=True)",
    "min": "{x}.amin(-1, keepdim=True)",
    "last": "{x}[..., -1:]",
    "first": "{x}[..., :1]",
    "softmax": "{x}.softmax(-1)",
}
_ALONG = {
    "sum": "{x}.sum({dim})",
    "mean": "{x}.mean({dim})",
    "max": "{x}.amax({dim})",
    "min": "{x}.amin({dim})",
    "last": "{x}.select({dim}, -1)",
    "first": "{x}.select({dim}, 0)",
    "softmax": "{x}.softmax({dim})",
}


def _reduction(body: Body, node: Node) -> Expr:
    axis = axis_of(node)
    if axis is None:
        return Expr(_CHANNELS[node.op].format(x=body.of(node.inputs[0]).at(ATOM)))
    shape = body.shape(node)
    if not axis.ragged:
        inner = Shape(shape.domain, body.unit.shapes.dims(frozenset((*shape.dims, axis))))
        x = body.at(node.inputs[0], inner, node)
        if len(node.inputs) == 1:
            return Expr(_ALONG[node.op].format(x=x.at(ATOM), dim=inner.dim(axis)))
        mask = body.mask(node.inputs[1], inner, node)
        return Expr(f"ops.dense.{node.op}({x.text}, {inner.dim(axis)}, {mask.text})")
    domain = _with_axis(shape, axis)
    inner = Shape(domain, shape.dims)
    parts = [body.at(node.inputs[0], inner, node, whole=True).text, body.rows(domain, node), body.axis(axis)]
    if len(node.inputs) > 1:
        parts.append(body.mask(node.inputs[1], inner, node).text)
    return Expr(f"ops.segment.{node.op}({', '.join(parts)})")


def _weighted_sum(body: Body, node: Node) -> Expr:
    weight, x = node.inputs
    axis = axis_of(node)
    assert axis is not None
    shape = body.shape(node)
    domain = _with_axis(shape, axis)
    of, own = body.shape(body.nodes[x]), body.of(x)
    parts = [
        body.at(weight, Shape(domain, shape.dims), node, whole=True).text,
        body.spread(own, of.dims, shape.dims).text,
        body.rows(domain, node),
        body.axis(axis),
    ]
    if of.domain is not None and of.domain != domain:
        parts.append(body.rows(of.domain, node))
    return Expr(f"ops.weighted_sum({', '.join(parts)})")


def _paired(body: Body, node: Node) -> Expr:
    shape = body.shape(node)
    assert shape.domain is not None
    rows = body.rows(shape.domain, node)
    matrix, biases = _matrix(body, node.attrs["products"], body.nodes[node.inputs[0]].type.width)
    factors = []
    for id, own in zip(node.inputs, node.attrs["own"], strict=True):
        source = body.nodes[id]
        at = whole_shape(body.shape(source))
        assert at.domain is not None
        parts = [body.at(id, at, node, whole=True).text, body.rows(at.domain, node)]
        if own is not None:
            alone, bias = _matrix(body, own, source.type.width)
            parts.append(alone)
            biases += bias
        factors.append(f"ops.Factor({', '.join(parts)})")
    return Expr(f"ops.paired({', '.join([*factors, matrix, ' + '.join(biases) or 'None', rows])})")


def _matrix(body: Body, products: tuple[Product, ...] | None, width: int) -> tuple[str, list[str]]:
    """The matrix of some products, and their biases if they have any."""
    if products is None:
        return "None", []
    bias = bias_text(products)
    return matrix_text(products, width, body.weight), [bias] if bias else []


def _with_axis(shape: Shape, axis: Axis) -> Domain:
    assert shape.domain is not None
    return shape.domain.with_axis(axis)


# --------------------------------------------------------------------- layers


def _module(body: Body, node: Node) -> Expr:
    """A layer that is a module: linear, norm, batch_norm, dice, prelu."""
    x = body.of(node.inputs[0])
    shape = body.shape(node)
    if node.op in ("batch_norm", "dice"):
        x = body.at(node.inputs[0], shape, node, whole=True)
    return Expr(f"{attribute(node.weights[0].rpartition('.')[0])}({x.text})")


def _dropout(body: Body, node: Node) -> Expr:
    x = body.at(node.inputs[0], body.shape(node), node, whole=True)
    return Expr(f"F.dropout({x.text}, {node.attrs['p']!r}, self.training)")


def _project(body: Body, node: Node) -> Expr:
    x = body.of(node.inputs[0])
    return Expr(product_text(x.text, node, body.nodes[node.inputs[0]].type.width, body.weight))


def _heads(body: Body, node: Node) -> Expr:
    axis = node.attrs["axis"]
    matrices = heads_text(node, body.weight, lambda path: body.unit.graph.weights[path].shape[0])
    x = node.inputs[0]
    if axis is None:
        return Expr(f"{body.of(x).at(PRODUCT + 1)} @ {matrices}", PRODUCT)
    has = body.nodes[x].type.has(axis)
    return Expr(
        f"ops.{'per_head' if has else 'fan'}({body.of(x).text}, {matrices}, {body.shape(node).dim(axis)})"
    )


def _attention(body: Body, node: Node) -> Expr:
    query_axis, key_axis = node.attrs["query_axis"], node.attrs["key_axis"]
    shape = body.shape(node)
    assert shape.domain is not None
    asked = shape.domain
    known = (asked if query_axis is None else asked.without(query_axis)).with_axis(key_axis)
    query, key, value = node.inputs
    parts = [
        body.at(query, Shape(asked, shape.dims), node, whole=True).text,
        body.at(key, Shape(known, shape.dims), node, whole=True).text,
        "None" if value == key else body.at(value, Shape(known, shape.dims), node, whole=True).text,
        body.rows(asked, node),
        body.rows(known, node),
        "None" if query_axis is None else body.axis(query_axis),
        body.axis(key_axis),
        repr(node.attrs["scale"]),
    ]
    if node.attrs["where"] != "all":
        parts.append(quoted(node.attrs["where"]))
    return Expr(f"ops.attend({', '.join(parts)})")


def _transfer(body: Body, node: Node) -> Expr:
    return Expr(f"ops.transfer({body.of(node.inputs[0]).text}{body.on(node)})")


_EMITTERS: dict[str, Emitter] = {
    "input": _input,
    "embed": _embed,
    "embed_bag": _embed,
    "lookup": _lookup,
    "learned": _learned,
    "label": _label,
    "constant": _constant,
    "index": _index,
    "length": _length,
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    "pow": _pow,
    **dict.fromkeys(_COMPARISONS, _comparison),
    **dict.fromkeys(("and", "or"), _both),
    "not": _not,
    "neg": _neg,
    **dict.fromkeys(_FUNCTIONS, _function),
    "stop_gradient": _stop_gradient,
    "leaky_relu": _leaky_relu,
    "concat": _concat,
    "slice": _slice,
    "split": _split,
    "join": _join,
    **{name: _called(f"ops.{name}") for name in ("dot", "bce", "mse", "cross_entropy")},
    "stack": positions.stack,
    "pairs": positions.pairs,
    "rename": positions.moved("rename"),
    "init": positions.moved("head"),
    "tail": positions.moved("tail"),
    "take": positions.moved("head"),
    "append": positions.append,
    "top": positions.top,
    "flatten": positions.flatten,
    **dict.fromkeys(_CHANNELS, _reduction),
    **dict.fromkeys(("linear", "norm", "batch_norm", "dice", "prelu"), _module),
    "dropout": _dropout,
    "project": _project,
    "heads": _heads,
    "attention": _attention,
    "transfer": _transfer,
    "scan": loops.scan,
    "recurrence": loops.recurrence,
    "scan_out": loops.scan_out,
    "tiled": loops.tiled,
    "weighted_sum": _weighted_sum,
    "paired": _paired,
}
