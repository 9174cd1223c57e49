"""What passes make of several operations, and of none: products, attention, sums of products, transfers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.definition import Derivative, Effect, OpDef, Positions, Traits, slots
from specc.ops.products import Product, products_of
from specc.ops.rules import Inputs, same
from specc.types.axis import Axis, Type, union

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def projected(check: Checker, node: Node, x: Type, products: tuple[Product, ...]) -> Type:
    """Return the type of some products of x; each is held against its matrix and bias."""
    for product in products:
        check.require(node, product.matrix in node.weights, f"`{product.matrix}` is not among its weights")
        rows, columns = check.weights[product.matrix].shape
        check.require(node, rows == product.width, f"`{product.matrix}` has {rows} rows")
        for run in product.blocks:
            widths = {c.stop - c.start for c in run}
            check.require(node, len(widths) == 1, f"columns of different widths: {product}")
            check.require(
                node, all(0 <= c.start < c.stop <= columns for c in run), f"no such columns: {product}"
            )
        total = sum(run[0].stop - run[0].start for run in product.blocks)
        check.require(node, total == x.width, f"{product} is of {total} channels")
        if product.bias is not None:
            check.require(node, product.bias in node.weights, f"`{product.bias}` is not among its weights")
            check.require(node, check.weights[product.bias].shape == (product.width,), "the bias's shape")
    return x.with_width(sum(p.width for p in products))


def _project(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,) = inputs
    return projected(check, node, x, products_of(node, x.width))


def _paired(check: Checker, node: Node, inputs: Inputs) -> Type:
    both = check.broadcast(node, *inputs)
    if node.attrs["products"] is None:
        return both.with_width(1)
    whole = projected(check, node, both, node.attrs["products"])
    for x, own in zip(inputs, node.attrs["own"], strict=True):
        if own is not None:
            alone = projected(check, node, x, own)
            check.require(node, alone.width == whole.width, "products of different widths")
    return whole


def _weighted_sum(check: Checker, node: Node, inputs: Inputs) -> Type:
    weight, x = inputs
    axis = node.attrs["axis"]
    check.require(node, weight.width == 1, "a weight has width 1")
    both = check.broadcast(node, weight, x)
    check.along(node, both, axis)
    return both.without(axis)


def _contract(check: Checker, node: Node, inputs: Inputs) -> Type:
    both, over = check.broadcast(node, *inputs), node.attrs["over"]
    for axis in over:
        check.require(node, both.has(axis), f"{both} has no `{axis}`")
    sequences = [axis for axis in over if axis.ragged]
    check.require(node, len(sequences) < 2, "it is summed over several sequences")
    for axis in sequences:
        for x in inputs:
            check.along(node, x, axis)
    width = 1 if node.attrs["channels"] else both.width
    return Type(tuple(a for a in both.axes if a not in over), width)


def _heads(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,) = inputs
    axis, slabs = node.attrs["axis"], node.attrs["slabs"]
    check.require(node, len(slabs) == (1 if axis is None else axis.size), "a matrix for each head")
    shapes = set()
    for slab in slabs:
        check.require(node, slab.matrix in node.weights, f"`{slab.matrix}` is not among its weights")
        rows, columns = check.weights[slab.matrix].shape
        check.require(node, 0 <= slab.start < slab.stop <= rows, f"no such rows: {slab}")
        shapes.add((slab.stop - slab.start, columns))
    check.require(node, len(shapes) == 1, "heads of different sizes")
    out, given = shapes.pop()
    if node.attrs["transposed"]:
        out, given = given, out
    check.require(node, x.width == given, "the width of what is multiplied")
    return Type(x.axes if axis is None else union(x, Type((axis,), 1)), out)


def _attention(check: Checker, node: Node, inputs: Inputs) -> Type:
    query, key, value = inputs
    asked, known = node.attrs["query_axis"], node.attrs["key_axis"]
    if asked is not None:
        check.along(node, query, asked)
    check.along(node, key, known)
    check.along(node, value, known)
    check.require(node, query.width == key.width, "query and key differ in width")
    mixed = query.has(known) or (asked is not None and (key.has(asked) or value.has(asked)))
    check.require(node, not mixed, "axes are mixed")
    conditions = ("all", "until", "before", "others") if asked is not None else ("all",)
    check.require(node, node.attrs["where"] in conditions, "no such condition")
    return Type(union(query, key.without(known), value.without(known)), value.width)


_PURE = Traits(effect=Effect.PURE, portable=True)
_READS_INPUT = Derivative(inputs=True)
DEFINITIONS = (
    OpDef(
        op.PROJECT, "fused", "x times blocks of columns of matrices, side by side (ops/products.py).",
        slots("x"), _project, attrs={"products": tuple}, weights=slots("matrix* bias*"),
        traits=Traits(effect=Effect.PURE, portable=True, positions=Positions.SAME), derivative=_READS_INPUT,
        noun="projected",
    ),
    OpDef(
        op.HEADS, "fused",
        "At each position of the static axis (None for one) rows of a matrix times x, or `transposed` x "
        "times them; an x without the axis is multiplied by all.",
        slots("x"), _heads, attrs={"axis": Axis | None, "slabs": tuple, "transposed": bool},
        weights=slots("matrix*"), traits=_PURE, derivative=_READS_INPUT,
    ),
    OpDef(
        op.ATTENTION, "fused",
        "sum(softmax(scale * dot(query, key), over key_axis) * value, over key_axis); where: `all` keys, "
        "those `until` or `before` the query's position, or all `others`. query_axis None: one query.",
        slots("query key value"), _attention,
        attrs={"query_axis": Axis | None, "key_axis": Axis, "scale": float, "where": str}, traits=_PURE,
        derivative=Derivative(inputs=True, output=True), noun="seen",
    ),
    OpDef(
        op.WEIGHTED_SUM, "fused", "sum(weight * x, over the axis); the weight has width 1.",
        slots("weight x"), _weighted_sum, attrs={"axis": Axis}, traits=_PURE, derivative=_READS_INPUT,
    ),
    OpDef(
        op.CONTRACT, "fused",
        "Sum of a * b over static axes, one that is not, and channels: a product of matrices.",
        slots("a b"), _contract,
        attrs={"over": tuple, "channels": bool}, traits=_PURE, derivative=_READS_INPUT, noun="total",
    ),
    OpDef(
        op.PAIRED, "fused",
        "Products of a * b as of `project`, and of a and of b alone where attrs.own has any for them; with "
        "attrs.products None the sum of a * b over channels.",
        slots("a b"), _paired, attrs={"products": tuple | None, "own": tuple},
        weights=slots("matrix* bias*"), traits=_PURE, derivative=_READS_INPUT,
    ),
    OpDef(
        op.TRANSFER, "fused", "The same value on another device.", slots("x"), same, attrs={"device": str},
        traits=Traits(effect=Effect.PURE), derivative=Derivative(), drawn=False,
        unportable="an exported program is on one device",
    ),
)  # fmt: skip
