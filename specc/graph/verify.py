"""What every graph keeps to, whichever stage it comes out of: the elaborator or a pass.

Promises: `verify` raises GraphError for the first node that is unsound: an input that does not come
first, a type that does not follow from the op's inputs, attributes and weights, a region that does not
close. It says which node and where it is written. A sound graph has a meaning (specc/interpret).

A fault found here is the compiler's own, never a user's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import comb
from typing import Any

from specc.graph.ir import FieldSpec, Graph, Node, Region, Weight, walk
from specc.graph.ops import OPS
from specc.graph.products import products_of
from specc.source import Span
from specc.types.axis import Axis, Type, union


class GraphError(AssertionError):
    """A graph that no stage may hand on. `node` is where it fails."""

    def __init__(self, message: str, span: Span, node: Node | None = None) -> None:
        where = f"%{node.id} = {node.op} {node.type}, " if node is not None else ""
        super().__init__(f"{message} ({where}{span.source.name}:{span.line})")
        self.node = node


def verify(graph: Graph) -> None:
    """Raises GraphError if the graph is unsound."""
    counts = Counter(n.id for n in walk(graph.nodes))
    for node in walk(graph.nodes):
        if counts[node.id] > 1:
            raise GraphError("two nodes have one id", node.span, node)
    fields = {f.path: f for space in graph.spaces for f in space.fields}
    Block(graph.weights, fields).check(graph.nodes)
    _check_outputs(graph)
    for path, weight in graph.weights.items():
        if weight.path != path:
            raise GraphError(f"weight `{path}` goes by another name, `{weight.path}`", weight.span)


def _check_outputs(graph: Graph) -> None:
    """What somebody outside asks for is there, and has the type that is promised."""
    there = {n.id: n for n in graph.nodes}
    wanted = [(f"prediction `{p.name}`", p.node, p.classes or 1, p.span) for p in graph.predictions]
    wanted += [(f"loss `{x.name}`", x.node, 1, x.span) for x in graph.losses]
    for what, id, width, span in wanted:
        if id not in there or there[id].type != Type((), width):
            raise GraphError(f"{what} is not there, or not [{width}]", span, there.get(id))
    for record in graph.attentions:
        if record.weight not in there or (record.score is not None and record.score not in there):
            raise GraphError(f"what attention `{record.path}` records is not there", record.span)
    for name, id in graph.bindings.items():
        if id not in there:
            raise GraphError(f"binding `{name}` is not there", graph.nodes[-1].span)


@dataclass
class Block:
    """The nodes of a graph, or of a region within `axes`: those of the scans around it, with their
    parents. `types` are known so far; `states` are those of each scan."""

    weights: Mapping[str, Weight]
    fields: Mapping[str, FieldSpec]
    axes: tuple[Axis, ...] = ()
    captures: tuple[Type, ...] = ()
    region: Region | None = None
    types: dict[int, Type] = field(default_factory=dict)
    states: dict[int, tuple[Type, ...]] = field(default_factory=dict)

    def check(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            self._check(node)
            self.types[node.id] = node.type

    def _check(self, node: Node) -> None:
        op = OPS.get(node.op)
        self.require(node, op is not None, "there is no such op")
        assert op is not None
        for id in node.inputs:
            self.require(node, id in self.types, f"its input %{id} does not come first")
        self.require(node, _fits(op.inputs, len(node.inputs)), f"it takes {op.inputs or 'no inputs'}")
        self.require(node, _fits(op.weights, len(node.weights)), f"its weights are {op.weights or 'none'}")
        self.require(node, set(node.attrs) == set(op.attrs.split()), f"its attributes are {op.attrs}")
        for path in node.weights:
            self.require(node, path in self.weights, f"there is no weight `{path}`")
        axes = node.type.axes
        self.require(node, len(set(axes)) == len(axes), "it has an axis twice")
        for axis in axes:
            self.require(node, axis.parent is None or axis.parent in axes, f"`{axis}` lacks its parent")
        for worked in _worked_along(node):
            self.require(node, worked not in self.axes, f"`{worked}` is walked by a scan around it")
        expected = _RULES[node.op](self, node, tuple(self.types[i] for i in node.inputs))
        self.require(node, node.type == expected, f"its type should be {expected}")

    def require(self, node: Node, holds: bool, message: str) -> None:
        if not holds:
            raise GraphError(message, node.span, node)

    def shapes(self, node: Node, *expected: tuple[int, ...]) -> None:
        for path, shape in zip(node.weights, expected, strict=False):
            self.require(node, self.weights[path].shape == shape, f"`{path}` should be {shape}")

    def along(self, node: Node, x: Type, axis: Axis) -> None:
        """The axis is one of x's, and no other of x's axes lives in it."""
        self.require(node, axis in x.axes, f"{x} has no `{axis}`")
        self.childless(node, x, axis)

    def childless(self, node: Node, x: Type, axis: Axis) -> None:
        children = [a for a in x.axes if a.parent == axis]
        self.require(node, not children, f"an axis of {x} lives in `{axis}`")

    def broadcast(self, node: Node, *types: Type) -> Type:
        widths = {t.width for t in types} - {1}
        self.require(node, len(widths) < 2, "widths " + ", ".join(str(t) for t in types))
        return Type(union(*types), max(t.width for t in types))

    def inside(self, node: Node, axes: tuple[Axis, ...], captures: tuple[Type, ...]) -> Block:
        """A region's nodes, checked."""
        region = node.region
        self.require(node, region is not None, "it has no region")
        assert region is not None
        block = replace(self, axes=(*self.axes, *axes), captures=captures, region=region, types={}, states={})
        block.check(region.nodes)
        for ids, op in ((region.captures, "capture"), (region.states, "state")):
            listed = {n.id: n.attrs["index"] for n in region.nodes if n.op == op}
            self.require(node, listed == {id: i for i, id in enumerate(ids)}, f"its {op}s are not as listed")
        for id in region.nexts:
            self.require(node, id in block.types, f"%{id} is not in its region")
        return block


def _fits(inputs: str, count: int) -> bool:
    """Whether so many are what "a b?" or "*" names."""
    names = inputs.split()
    least = sum(not n.endswith(("?", "*")) for n in names)
    return least <= count and (count <= len(names) or any(n.endswith("*") for n in names))


def _worked_along(node: Node) -> list[Axis]:
    """The axes along which positions are brought together or moved."""
    if node.op in ("index", "length", "learned"):
        return []
    keys = ("axis", "old", "over", "second", "query_axis", "key_axis")
    return [a for a in (node.attrs.get(key) for key in keys) if isinstance(a, Axis)]


def _line(axis: Axis | None) -> tuple[Axis, ...]:
    """An axis after its parents."""
    return () if axis is None else (*_line(axis.parent), axis)


# --------------------------------------------------------------------- rules

Inputs = tuple[Type, ...]
Rule = Callable[[Block, Node, Inputs], Type]
_RULES: dict[str, Rule] = {}


def _rule(*ops: str) -> Callable[[Rule], Rule]:
    def enter(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(ops, rule))
        return rule

    return enter


@_rule("input")
def _input(block: Block, node: Node, inputs: Inputs) -> Type:
    spec = block.fields[node.attrs["field"]]
    return Type(spec.axes, spec.width)


@_rule("embed", "embed_bag")
def _embed(block: Block, node: Node, inputs: Inputs) -> Type:
    weight = block.weights[node.weights[0]]
    block.require(node, weight.kind == "table" and len(weight.shape) == 2, f"`{weight.path}` is no table")
    return Type(block.fields[node.attrs["field"]].axes, weight.shape[-1])


@_rule("learned")
def _learned(block: Block, node: Node, inputs: Inputs) -> Type:
    axes: tuple[Axis, ...] = node.attrs["axes"]
    block.shapes(node, (*(a.bound for a in axes), node.type.width))
    return Type(union(Type(tuple(a for axis in axes for a in _line(axis)), 1)), node.type.width)


@_rule("constant")
def _constant(block: Block, node: Node, inputs: Inputs) -> Type:
    block.require(node, isinstance(node.attrs["value"], int | float), "it has no value")
    return Type((), 1)


@_rule("index")
def _index(block: Block, node: Node, inputs: Inputs) -> Type:
    return Type(_line(node.attrs["axis"]), 1)


@_rule("length")
def _length(block: Block, node: Node, inputs: Inputs) -> Type:
    return Type(_line(node.attrs["axis"].parent), 1)


@_rule("add", "sub", "mul", "div", "pow", "lt", "le", "gt", "ge", "eq", "ne", "and", "or")
def _combined(block: Block, node: Node, inputs: Inputs) -> Type:
    return block.broadcast(node, *inputs)


@_rule(
    *("not", "neg", "exp", "log", "sqrt", "abs", "tanh", "sigmoid", "relu", "silu", "gelu", "leaky_relu"),
    *("stop_gradient", "dropout", "transfer"),
)
def _same(block: Block, node: Node, inputs: Inputs) -> Type:
    return inputs[0]


@_rule("concat")
def _concat(block: Block, node: Node, inputs: Inputs) -> Type:
    return Type(union(*inputs), sum(t.width for t in inputs))


@_rule("slice")
def _slice(block: Block, node: Node, inputs: Inputs) -> Type:
    start, stop = node.attrs["start"], node.attrs["stop"]
    block.require(node, 0 <= start < stop <= inputs[0].width, f"{inputs[0]} has no such channels")
    return inputs[0].with_width(stop - start)


@_rule("dot")
def _dot(block: Block, node: Node, inputs: Inputs) -> Type:
    block.require(node, inputs[0].width == inputs[1].width, "widths differ")
    return block.broadcast(node, *inputs).with_width(1)


@_rule("split")
def _split(block: Block, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    block.require(node, axis.size and x.width % axis.size == 0 and not x.has(axis), f"{x} has no such parts")
    return Type((*x.axes, axis), x.width // axis.size)


@_rule("join")
def _join(block: Block, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    block.along(node, x, axis)
    block.require(node, axis.size is not None, f"`{axis}` is ragged")
    return x.without(axis).with_width(x.width * axis.size)


@_rule("stack")
def _stack(block: Block, node: Node, inputs: Inputs) -> Type:
    axis = node.attrs["axis"]
    block.require(node, axis.size == len(inputs), f"`{axis}` has {axis.size} positions")
    block.require(node, len({t.width for t in inputs}) == 1, "widths differ")
    block.require(node, not any(t.has(axis) for t in inputs), f"an input has `{axis}` already")
    return Type((*union(*inputs), axis), inputs[0].width)


@_rule("pairs")
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


@_rule("rename", "init", "tail", "take", "top")
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


@_rule("append")
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


@_rule("flatten")
def _flatten(block: Block, node: Node, inputs: Inputs) -> Type:
    (x,), axis = inputs, node.attrs["axis"]
    block.along(node, x, axis)
    return x.without(axis).with_width(x.width * axis.bound)


@_rule("sum", "mean", "max", "min", "last", "first", "softmax")
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


@_rule("linear", "project")
def _product(block: Block, node: Node, inputs: Inputs) -> Type:
    (x,) = inputs
    products = products_of(node, x.width)
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
    if node.op == "linear":
        block.require(node, block.weights[node.weights[0]].shape[1] == x.width, "the matrix's columns")
    return x.with_width(sum(p.width for p in products))


@_rule("norm", "batch_norm", "dice", "prelu")
def _layer(block: Block, node: Node, inputs: Inputs) -> Type:
    block.shapes(node, *[(inputs[0].width,)] * len(node.weights))
    trains = node.attrs.get("statistics", "fixed") != "fixed"
    block.require(node, not (trains and block.region is not None), "a batch has no statistics in a region")
    return inputs[0]


@_rule("bce", "mse", "cross_entropy")
def _loss(block: Block, node: Node, inputs: Inputs) -> Type:
    if node.op == "cross_entropy":
        block.require(node, inputs[1].width == 1, "the class is one number")
        return Type(union(*inputs), 1)
    both = block.broadcast(node, *inputs)
    block.require(node, node.op == "mse" or both.width == 1, "a binary cross entropy is of one logit")
    return both.with_width(1)


@_rule("attention")
def _attention(block: Block, node: Node, inputs: Inputs) -> Type:
    query, key, value = inputs
    asked, known = node.attrs["query_axis"], node.attrs["key_axis"]
    block.along(node, query, asked)
    block.along(node, key, known)
    block.along(node, value, known)
    block.require(node, query.width == key.width, "query and key differ in width")
    block.require(node, not (query.has(known) or key.has(asked) or value.has(asked)), "axes are mixed")
    block.require(node, node.attrs["where"] in ("all", "until", "before", "others"), "no such condition")
    return Type(union(query, key.without(known), value.without(known)), value.width)


# ------------------------------------------------------------------- regions


@_rule("scan", "recurrence")
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


@_rule("scan_out")
def _scan_out(block: Block, node: Node, inputs: Inputs) -> Type:
    states = block.states.get(node.inputs[0], ())
    index: int = node.attrs["index"]
    block.require(node, index < len(states), "there is no such state")
    (axis,) = set(inputs[0].axes) - set(states[0].axes)
    return _whole(states[index], axis)


@_rule("capture")
def _capture(block: Block, node: Node, inputs: Inputs) -> Type:
    index: int = node.attrs["index"]
    block.require(node, index < len(block.captures), "it stands for nothing")
    return block.captures[index]


@_rule("state")
def _state(block: Block, node: Node, inputs: Inputs) -> Type:
    block.require(node, block.region is not None, "it is outside of a region")
    return node.type  # held against its start and its next value by the scan


@_rule("tiled")
def _tiled(block: Block, node: Node, inputs: Inputs) -> Type:
    inner = block.inside(node, (), inputs)
    region: Any = node.region
    block.require(node, not region.states and len(region.nexts) == 1, "it has one value and no state")
    return inner.types[region.nexts[0]]
