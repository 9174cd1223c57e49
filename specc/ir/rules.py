"""What type each op has: the rules by which `verify` holds every node.

Promises: a rule gives the type that follows from a node's inputs, attributes and weights, or has the block
raise for what does not fit together. There is one for every op.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import TYPE_CHECKING, Any

from specc.ir.graph import Node
from specc.ir.products import Product, products_of
from specc.types.axis import Axis, Type, union

if TYPE_CHECKING:
    from specc.ir.verify import Block

Inputs = tuple[Type, ...]
Rule = Callable[["Block", Node, Inputs], Type]
RULES: dict[str, Rule] = {}


def rule(*ops: str) -> Callable[[Rule], Rule]:
    def enter(own: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, own))
        return own

    return enter


@rule("input")
def _input(block: Block, node: Node, inputs: Inputs) -> Type:
    spec = block.fields[node.attrs["field"]]
    return Type(spec.axes, spec.width)


@rule("embed", "embed_bag")
def _embed(block: Block, node: Node, inputs: Inputs) -> Type:
    weight = block.weights[node.weights[0]]
    block.require(node, weight.kind == "table" and len(weight.shape) == 2, f"`{weight.path}` is no table")
    return Type(block.fields[node.attrs["field"]].axes, weight.shape[-1])


@rule("lookup")
def _lookup(block: Block, node: Node, inputs: Inputs) -> Type:
    fields = node.attrs["fields"]
    block.require(node, len(fields) == len(node.attrs["modes"]) == len(node.weights) > 0, "it has no parts")
    axes = block.fields[fields[0]].axes
    for path, field in zip(node.weights, fields, strict=True):
        block.require(node, block.weights[path].kind == "table", f"`{path}` is no table")
        block.require(node, set(block.fields[field].axes) == set(axes), f"`{field}` has other rows")
    return Type(axes, sum(block.weights[path].shape[-1] for path in node.weights))


@rule("learned")
def _learned(block: Block, node: Node, inputs: Inputs) -> Type:
    axes: tuple[Axis, ...] = node.attrs["axes"]
    block.shapes(node, (*(a.bound for a in axes), node.type.width))
    return Type(union(Type(tuple(a for axis in axes for a in _line(axis)), 1)), node.type.width)


@rule("constant")
def _constant(block: Block, node: Node, inputs: Inputs) -> Type:
    block.require(node, isinstance(node.attrs["value"], int | float), "it has no value")
    return Type((), 1)


@rule("index")
def _index(block: Block, node: Node, inputs: Inputs) -> Type:
    return Type(_line(node.attrs["axis"]), 1)


@rule("length")
def _length(block: Block, node: Node, inputs: Inputs) -> Type:
    return Type(_line(node.attrs["axis"].parent), 1)


@rule("add", "sub", "mul", "div", "pow", "lt", "le", "gt", "ge", "eq", "ne", "and", "or")
def _combined(block: Block, node: Node, inputs: Inputs) -> Type:
    return block.broadcast(node, *inputs)


@rule(
    *("not", "neg", "exp", "log", "sqrt", "abs", "tanh", "sigmoid", "relu", "silu", "gelu", "leaky_relu"),
    *("stop_gradient", "dropout", "transfer"),
)
def _same(block: Block, node: Node, inputs: Inputs) -> Type:
    return inputs[0]


@rule("concat")
def _concat(block: Block, node: Node, inputs: Inputs) -> Type:
    return Type(union(*inputs), sum(t.width for t in inputs))


@rule("slice")
def _slice(block: Block, node: Node, inputs: Inputs) -> Type:
    start, stop = node.attrs["start"], node.attrs["stop"]
    block.require(node, 0 <= start < stop <= inputs[0].width, f"{inputs[0]} has no such channels")
    return inputs[0].with_width(stop - start)


@rule("dot")
def _dot(block: Block, node: Node, inputs: Inputs) -> Type:
    block.require(node, inputs[0].width == inputs[1].width, "widths differ")
    return block.broadcast(node, *inputs).with_width(1)


@rule("split")
def _split(block: Block, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    block.require(node, axis.size and x.width % axis.size == 0 and not x.has(axis), f"{x} has no such parts")
    return Type((*x.axes, axis), x.width // axis.size)


@rule("join")
def _join(block: Block, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    block.along(node, x, axis)
    block.require(node, axis.size is not None, f"`{axis}` is ragged")
    return x.without(axis).with_width(x.width * axis.size)


@rule("stack")
def _stack(block: Block, node: Node, inputs: Inputs) -> Type:
    axis = node.attrs["axis"]
    block.require(node, axis.size == len(inputs), f"`{axis}` has {axis.size} positions")
    block.require(node, len({t.width for t in inputs}) == 1, "widths differ")
    block.require(node, not any(t.has(axis) for t in inputs), f"an input has `{axis}` already")
    return Type((*union(*inputs), axis), inputs[0].width)


@rule("pairs")
def _pairs(block: Block, node: Node, inputs: Inputs) -> Type:
    over, axis = node.attrs["over"], node.attrs["axis"]
    block.require(node, over.size is not None and axis.size == comb(over.size, 2), "it is of other pairs")
    return _moved(block, node, inputs[0], over, axis)


def _moved(block: Block, node: Node, x: Type, old: Axis, new: Axis) -> Type:
    """One axis in another's place."""
    block.along(node, x, old)
    block.require(node, not x.has(new), f"{x} has `{new}` already")
    return Type(tuple(new if a == old else a for a in x.axes), x.width)


_MADE = {"rename": "renamed", "init": "shorter", "tail": "shorter", "take": "taken", "top": "top"}


@rule("rename", "init", "tail", "take", "top")
def _derived(block: Block, node: Node, inputs: Inputs) -> Type:
    old, axis = node.attrs["old"], node.attrs["axis"]
    block.require(node, axis.kind == _MADE[node.op] and axis.source == (old,), f"`{axis}` is not of `{old}`")
    block.require(node, axis.parent == old.parent, f"`{axis}` and `{old}` live in different axes")
    if "k" in node.attrs:
        block.require(node, axis.key[2] == node.attrs["k"], f"`{axis}` has another k")
    for score in inputs[1:]:
        block.along(node, score, old)
        block.require(node, score.width == 1 and set(score.axes) <= set(inputs[0].axes), f"the score {score}")
    return _moved(block, node, inputs[0], old, axis)


@rule("append")
def _append(block: Block, node: Node, inputs: Inputs) -> Type:
    x, y = inputs
    old, axis, second = (node.attrs[k] for k in ("old", "axis", "second"))
    source = (old,) if second is None else (old, second)
    block.require(node, axis.kind == "appended" and axis.source == source, f"`{axis}` is of others")
    block.require(node, axis.parent == old.parent, f"`{axis}` and `{old}` live in different axes")
    block.require(node, x.width == y.width, "widths differ")
    moved = _moved(block, node, x, old, axis)
    if second is not None:
        block.along(node, y, second)
        y = y.without(second)
    block.require(node, not y.has(old), f"{y} has `{old}` itself")
    return Type(union(moved, y), x.width)


@rule("flatten")
def _flatten(block: Block, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    block.along(node, x, axis)
    return x.without(axis).with_width(x.width * axis.bound)


@rule("sum", "mean", "max", "min", "last", "first", "softmax")
def _reduced(block: Block, node: Node, inputs: Inputs) -> Type:
    x, axis = inputs[0], node.attrs["axis"]
    keeps = node.op == "softmax"
    if axis is None:
        block.require(node, len(inputs) == 1, "channels are all counted")
        return x if keeps else x.with_width(1)
    block.along(node, x, axis)
    if len(inputs) > 1:
        block.require(node, inputs[1].width == 1, "a condition has width 1")
        x = Type(union(*inputs), x.width)
        block.childless(node, x, axis)
    return x if keeps else x.without(axis)


@rule("linear", "project")
def _product(block: Block, node: Node, inputs: Inputs) -> Type:
    (x,) = inputs
    if node.op == "linear":
        block.require(node, block.weights[node.weights[0]].shape[1] == x.width, "the matrix's columns")
    return _projected(block, node, x, products_of(node, x.width))


def _projected(block: Block, node: Node, x: Type, products: tuple[Product, ...]) -> Type:
    for product in products:
        block.require(node, product.matrix in node.weights, f"`{product.matrix}` is not among its weights")
        rows, columns = block.weights[product.matrix].shape
        block.require(node, rows == product.width, f"`{product.matrix}` has {rows} rows")
        for run in product.blocks:
            widths = {c.stop - c.start for c in run}
            block.require(node, len(widths) == 1, f"columns of different widths: {product}")
            block.require(
                node, all(0 <= c.start < c.stop <= columns for c in run), f"no such columns: {product}"
            )
        total = sum(run[0].stop - run[0].start for run in product.blocks)
        block.require(node, total == x.width, f"{product} is of {total} channels")
        if product.bias is not None:
            block.require(node, product.bias in node.weights, f"`{product.bias}` is not among its weights")
            block.require(node, block.weights[product.bias].shape == (product.width,), "the bias's shape")
    return x.with_width(sum(p.width for p in products))


@rule("paired")
def _paired(block: Block, node: Node, inputs: Inputs) -> Type:
    both = block.broadcast(node, *inputs)
    if node.attrs["products"] is None:
        return both.with_width(1)
    whole = _projected(block, node, both, node.attrs["products"])
    for x, own in zip(inputs, node.attrs["own"], strict=True):
        if own is not None:
            alone = _projected(block, node, x, own)
            block.require(node, alone.width == whole.width, "products of different widths")
    return whole


@rule("weighted_sum")
def _weighted_sum(block: Block, node: Node, inputs: Inputs) -> Type:
    weight, x = inputs
    axis = node.attrs["axis"]
    block.require(node, weight.width == 1, "a weight has width 1")
    both = block.broadcast(node, weight, x)
    block.along(node, both, axis)
    return both.without(axis)


@rule("heads")
def _heads(block: Block, node: Node, inputs: Inputs) -> Type:
    (x,) = inputs
    axis, slabs = node.attrs["axis"], node.attrs["slabs"]
    block.require(node, len(slabs) == (1 if axis is None else axis.size), "a matrix for each head")
    shapes = set()
    for slab in slabs:
        block.require(node, slab.matrix in node.weights, f"`{slab.matrix}` is not among its weights")
        rows, columns = block.weights[slab.matrix].shape
        block.require(node, 0 <= slab.start < slab.stop <= rows, f"no such rows: {slab}")
        shapes.add((slab.stop - slab.start, columns))
    block.require(node, len(shapes) == 1, "heads of different sizes")
    out, given = shapes.pop()
    if node.attrs["transposed"]:
        out, given = given, out
    block.require(node, x.width == given, "the width of what is multiplied")
    return Type(x.axes if axis is None else union(x, Type((axis,), 1)), out)


@rule("norm", "batch_norm", "dice", "prelu")
def _layer(block: Block, node: Node, inputs: Inputs) -> Type:
    block.shapes(node, *[(inputs[0].width,)] * len(node.weights))
    trains = node.attrs.get("statistics", "fixed") != "fixed"
    block.require(node, not (trains and block.region is not None), "a batch has no statistics in a region")
    return inputs[0]


@rule("bce", "mse", "cross_entropy")
def _loss(block: Block, node: Node, inputs: Inputs) -> Type:
    if node.op == "cross_entropy":
        block.require(node, inputs[1].width == 1, "the class is one number")
        return Type(union(*inputs), 1)
    both = block.broadcast(node, *inputs)
    block.require(node, node.op == "mse" or both.width == 1, "a binary cross entropy is of one logit")
    return both.with_width(1)


@rule("attention")
def _attention(block: Block, node: Node, inputs: Inputs) -> Type:
    query, key, value = inputs
    asked, known = node.attrs["query_axis"], node.attrs["key_axis"]
    if asked is not None:
        block.along(node, query, asked)
    block.along(node, key, known)
    block.along(node, value, known)
    block.require(node, query.width == key.width, "query and key differ in width")
    mixed = query.has(known) or (asked is not None and (key.has(asked) or value.has(asked)))
    block.require(node, not mixed, "axes are mixed")
    conditions = ("all", "until", "before", "others") if asked is not None else ("all",)
    block.require(node, node.attrs["where"] in conditions, "no such condition")
    return Type(union(query, key.without(known), value.without(known)), value.width)


# ------------------------------------------------------------------- regions


@rule("scan", "recurrence")
def _scan(block: Block, node: Node, inputs: Inputs) -> Type:
    axis = node.attrs["axis"]
    region = node.region
    block.require(node, region is not None and bool(region.states), "it has no state")
    assert region is not None
    for x in inputs:
        block.childless(node, x, axis)
    count = len(region.captures)
    inner = block.inside(node, _line(axis), tuple(x.without(axis) for x in inputs[:count]))
    states = tuple(inner.types[s] for s in region.states)
    starts = [i for i in region.inits if i is not None]
    block.require(node, starts == list(range(count, len(inputs))), "its starts are not its last inputs")
    block.require(node, len(states) == len(region.inits) == len(region.nexts), "states, starts and nexts")
    parents = set(_line(axis.parent))
    for state, start, following in zip(states, region.inits, region.nexts, strict=True):
        block.require(node, not state.has(axis) and parents <= set(state.axes), f"the state {state}")
        given = [inner.types[following], *([] if start is None else [inputs[start]])]
        for x in given:
            fits = x.width == state.width and set(x.axes) <= set(state.axes)
            block.require(node, fits, f"a state is {state}, and is given {x}")
    block.states[node.id] = states
    return _whole(states[0], axis)


def _whole(state: Type, axis: Axis) -> Type:
    return Type(union(Type((*state.axes, *_line(axis)), 1)), state.width)


@rule("scan_out")
def _scan_out(block: Block, node: Node, inputs: Inputs) -> Type:
    states = block.states.get(node.inputs[0], ())
    index: int = node.attrs["index"]
    block.require(node, index < len(states), "there is no such state")
    (axis,) = set(inputs[0].axes) - set(states[0].axes)
    return _whole(states[index], axis)


@rule("capture")
def _capture(block: Block, node: Node, inputs: Inputs) -> Type:
    index: int = node.attrs["index"]
    block.require(node, index < len(block.captures), "it stands for nothing")
    return block.captures[index]


@rule("state")
def _state(block: Block, node: Node, inputs: Inputs) -> Type:
    block.require(node, block.region is not None, "it is outside of a region")
    return node.type  # held against its start and its next value by the scan


@rule("tiled")
def _tiled(block: Block, node: Node, inputs: Inputs) -> Type:
    inner = block.inside(node, (), inputs)
    region: Any = node.region
    block.require(node, not region.states and len(region.nexts) == 1, "it has one value and no state")
    return inner.types[region.nexts[0]]


def _line(axis: Axis | None) -> tuple[Axis, ...]:
    """An axis after its parents."""
    return () if axis is None else (*_line(axis.parent), axis)
