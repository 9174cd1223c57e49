"""What each operation takes: its value, what it keeps for its derivative, and what it needs meanwhile.

These follow the kernels that compiled models call (specc_runtime.ops, and torch's own derivatives); where one
of those changes what it keeps, its row here changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from specc.emit.cell import cell_source
from specc.emit.shape import Domain, Shapes
from specc.ir.graph import Graph, Node
from specc.passes.placement import BYTES
from specc.plan.lengths import Lengths
from specc.types.axis import Axis, Type

# How a gradient comes to be: as a tensor of its own, or as the very one (or a part of it) that came in.
Way = Literal["new", "same"]

# What blocks of sequences of like length are longer with padding, as measured (specc_runtime.ops.attention).
_BLOCK_GROWTH, _BLOCK_STEP = 0.1, 2.0
_BLOCK = 0.2  # a block's share of all sequences
_TILE = 2**18  # numbers, specc_runtime.ops.tile
_INDEX = 8  # bytes of an index

# The operations whose value is a view of their first input, and of which nothing is kept.
VIEWS = frozenset({"rename", "split", "join", "slice", "scan_out", "stop_gradient"})
_KEEP_INPUT = frozenset({"silu", "gelu", "log", "abs", "leaky_relu"})
_KEEP_OUTPUT = frozenset({"exp", "sqrt", "sigmoid", "tanh", "relu"})
_CONDITIONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"})


@dataclass(frozen=True)
class Cost:
    """In bytes. inputs: those inputs that are kept for the derivative. output: whether the value is.
    beside: what is kept besides. during: what is needed meanwhile, on the way there. back: what is needed on
    the way back, beside the gradients; first: before there are any. way: how each input's gradient comes to
    be."""

    inputs: tuple[int, ...] = ()
    output: bool = False
    beside: float = 0.0
    during: float = 0.0
    back: float = 0.0
    first: float = 0.0
    way: Way = "new"


@dataclass
class Sizes:
    """Bytes of values and rows in one batch."""

    graph: Graph
    batch: int
    lengths: Lengths
    shapes: Shapes = field(init=False)
    _rows: dict[frozenset[Axis], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shapes = Shapes(self.graph)

    def rows(self, axes: frozenset[Axis]) -> float:
        """How many rows there are for a combination of ragged axes."""
        if axes not in self._rows:
            self._rows[axes] = self.batch * self.lengths.positions(Type(tuple(axes), 1))
        return self._rows[axes]

    def domain(self, node: Node) -> frozenset[Axis] | None:
        """The ragged axes that a value has a row for; None if it is the same everywhere."""
        found: Domain | None = self.shapes.of(node).domain
        return None if found is None else _closed(found.axes)

    def value(self, node: Node, domain: frozenset[Axis] | None = None) -> float:
        """A value's bytes, also as repeated at the rows of another domain."""
        own = domain if domain is not None else self.domain(node)
        return self.numbers(node) * BYTES * (1.0 if own is None else self.rows(own))

    def numbers(self, node: Node) -> float:
        """How many numbers there are in one row."""
        number = float(node.type.width)
        for axis in node.type.axes:
            number *= axis.size or 1
        return number


def _closed(axes: frozenset[Axis]) -> frozenset[Axis]:
    """With the axes that they are nested in."""
    found = set(axes)
    for axis in axes:
        step = axis.parent
        while step is not None:
            found.add(step)
            step = step.parent
    return frozenset(found)


def cost(node: Node, sizes: Sizes, learns: set[int], training: bool) -> Cost:
    """What a node takes. learns: the nodes that a gradient flows through."""
    own = sizes.value(node)
    every = tuple(node.inputs)
    learnt = tuple(i for i in every if i in learns)
    match node.op:
        case "add" | "concat" | "stack" | "transfer":
            return Cost(way="same")
        case "sub" | "neg" | "expand":
            return Cost()
        case "mul":
            # Each factor is kept for the other's derivative.
            kept = tuple(i for n, i in enumerate(every) if every[1 - n] in learns)
            return Cost(inputs=kept)
        case "div" | "pow":
            return Cost(inputs=every if learnt else (), during=own)
        case "weighted_sum" | "paired":
            # What is in between is of a few rows.
            return Cost(inputs=every if learnt else ())
        case "dot":
            inner = _inner(node, sizes)
            kept = tuple(i for n, i in enumerate(every) if every[1 - n] in learns)
            return Cost(inputs=kept, during=inner)
        case "linear" | "project" | "heads":
            return Cost(inputs=every[:1], during=own if len(node.weights) > 2 else 0.0)
        case "norm":
            return Cost(inputs=every, beside=2 * own / node.type.width)
        case "batch_norm":
            return Cost(inputs=every, beside=own, during=own, back=own)
        case "dice":
            return Cost(inputs=every, beside=own, during=own if training else 0.0, back=3 * own)
        case "prelu":
            return Cost(inputs=every, beside=0.25 * own, during=own, back=own)
        case "dropout":
            return Cost(beside=own if training else 0.0, during=own if training else 0.0, way="new")
        case "softmax":
            return _softmax(node, sizes)
        case "sum" | "mean" if _along(node) is not None:
            return Cost(during=own)
        case "sum" | "mean":
            return Cost()
        case "max" | "min":
            return Cost(inputs=every[:1], output=True, back=sizes.value(sizes.graph.node(every[0])))
        case "pairs":
            return Cost(beside=2 * own, back=2 * own)
        case "bce" | "mse" | "cross_entropy":
            return Cost(inputs=every, beside=own, during=own)
        case "attention":
            return _attention(node, sizes, training)
        case "recurrence":
            return _recurrence(node, sizes, training)
        case "scan":
            return _scan(node, sizes)
        case "tiled":
            return _tiled(node, sizes)
    if node.op in _KEEP_INPUT:
        return Cost(inputs=every)
    if node.op in _KEEP_OUTPUT:
        return Cost(output=True)
    return Cost()


def _along(node: Node) -> Axis | None:
    axis = node.attrs.get("axis")
    return axis if isinstance(axis, Axis) and axis.ragged else None


def _inner(node: Node, sizes: Sizes) -> float:
    """The products that a dot sums up."""
    width = max(sizes.graph.node(i).type.width for i in node.inputs)
    return sizes.value(node) * width


def _softmax(node: Node, sizes: Sizes) -> Cost:
    own = sizes.value(node)
    if _along(node) is None:
        return Cost(output=True, during=own)
    # The exponentials and the sums below them.
    return Cost(beside=2 * own, during=own, back=own)


def _attention(node: Node, sizes: Sizes, training: bool) -> Cost:
    """Blocks of padded sequences (specc_runtime.ops.attention). Heads that share a key are more queries, and
    the weights of a block's pairs are there; heads of their own are torch's fused attention, if values are as
    wide as queries, or else its plain way."""
    query, key, given = (sizes.graph.node(i) for i in node.inputs)
    padding = _padding(key, node.attrs["key_axis"], sizes)
    padded = {
        n.id: (1.0 if n is query and node.attrs["query_axis"] is None else padding)
        * (BYTES * sizes.rows(sizes.domain(n) or frozenset()))
        for n in (query, key, given)
    }
    heads = _heads(node)
    shared = node.attrs["where"] == "all" and _heads(key) == 1
    asked = padded[query.id] * heads * query.type.width
    known = padded[key.id] * (1 if shared else heads) * key.type.width
    own_values = _heads(given) if shared else heads
    values = 0.0 if given.id == key.id else padded[given.id] * own_values * given.type.width
    out = padded[query.id] * heads * node.type.width
    index = 4 * _INDEX * sizes.rows(sizes.domain(key) or frozenset())
    if not shared and given.type.width == query.type.width:
        kept = asked + known + values + out
        return Cost(beside=kept + index, during=out, back=kept)
    both = (sizes.domain(query) or frozenset()) | (sizes.domain(key) or frozenset())
    pairs = (
        padding * (1.0 if node.attrs["query_axis"] is None else padding) * BYTES * heads * sizes.rows(both)
    )
    if not training:
        # Only of the block at hand.
        block = _BLOCK * (asked + known + values + 2 * pairs)
        return Cost(beside=asked + known + values + index, during=out + block)
    # Copies in the order that a product of many matrices wants them.
    copied = values + pairs if own_values > 1 else 0.0
    if not shared:
        copied += known
    kept = asked + known + values + pairs + copied
    return Cost(beside=kept + index, during=asked + out, back=asked + known + values + pairs * _BLOCK)


def _padding(key: Node, axis: Axis, sizes: Sizes) -> float:
    """How much longer sequences are with the padding of their blocks: the larger of a tenth and of two
    positions, on average. None where all are at the bound."""
    if not sizes.lengths.moments:
        return 1.0
    domain = sizes.domain(key) or frozenset()
    length = sizes.rows(domain) / max(sizes.rows(domain - {axis}), 1.0)
    return 1.0 + max(_BLOCK_GROWTH, _BLOCK_STEP / max(length, 1.0))


def _heads(node: Node) -> float:
    number = 1.0
    for axis in node.type.axes:
        number *= axis.size or 1
    return number


def _recurrence(node: Node, sizes: Sizes, training: bool) -> Cost:
    """The loop with a compiled derivative (specc_runtime.ops.cell)."""
    region, axis = node.region, node.attrs["axis"]
    assert region is not None
    rows = sizes.rows(sizes.domain(node) or frozenset())
    captured = [sizes.graph.node(i) for i in node.inputs[: len(region.captures)]]
    varying = tuple(c.type.has(axis) for c in captured)
    source = cell_source(region, varying)
    inside = {n.id: n for n in region.nodes}
    states = sum(inside[s].type.width for s in region.states)
    # In the order of steps: what is seen, and the states.
    widths = [c.type.width for c, v in zip(captured, varying, strict=True) if v]
    seen = sum(widths)
    a_row = BYTES * rows
    index = 3 * _INDEX * rows
    if not training:
        return Cost(during=a_row * seen + index)
    sloped = sum(w for w, s in zip(widths, source.sloped, strict=True) if s)
    of_products = zip(source.products, source.places, strict=True)
    made = sum(sum(p.width for p in group) for (group, _), place in of_products if place is None)
    read = {n.inputs[0] for n in region.nodes if n.op in ("linear", "project")}
    return Cost(
        beside=a_row * (source.beside + seen + states) + index,
        # Derivatives by step, and what the matrices multiplied, put together.
        back=a_row * (states + made + sloped + sum(inside[i].type.width for i in read)),
    )


def _scan(node: Node, sizes: Sizes) -> Cost:
    """The plain loop: every step's operations are recorded."""
    region = node.region
    assert region is not None
    rows = sizes.rows(sizes.domain(node) or frozenset())
    inner = sum(
        sizes.numbers(n) for n in region.nodes if n.op not in VIEWS | {"capture", "state", "constant"}
    )
    seen = sum(sizes.value(sizes.graph.node(i)) for i in node.inputs[: len(region.captures)])
    kept = BYTES * rows * inner
    return Cost(beside=kept + seen, during=sizes.value(node), back=seen + sizes.value(node))


def _tiled(node: Node, sizes: Sizes) -> Cost:
    """A few rows at a time; computed again on the way back, with what its derivatives keep."""
    region = node.region
    assert region is not None
    inner = [n for n in region.nodes if n.op not in VIEWS | {"capture", "constant"}]
    most = max((sizes.numbers(n) for n in inner), default=1.0)
    # The factors of pairs are there beside the products.
    kept = sum(sizes.numbers(n) * (3 if n.op == "pairs" else 1) for n in inner)
    rows = min(max(_TILE // most, 1), sizes.batch)
    tile = BYTES * rows * (kept + 2 * most)
    given = sum(sizes.value(sizes.graph.node(i)) for i in node.inputs)
    forward = BYTES * rows * 3 * most + sizes.value(node)
    before = given * (1 - rows / max(sizes.batch, 1))  # the gradients of all tiles but the last
    return Cost(inputs=node.inputs, during=forward, back=given, first=before + tile)


def rows_kept(sizes: Sizes, domains: set[frozenset[Axis]]) -> float:
    """The index tensors of a batch: of each combination of axes, whose rows they are, and where."""
    return sum(4 * _INDEX * sizes.rows(axes) for axes in domains if axes)
