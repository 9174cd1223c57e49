"""What each kernel takes: its value, what it keeps for its derivative, and what it needs meanwhile.

These follow the kernels that compiled models call (specc_runtime.ops, and torch's own derivatives); where one
of those changes what it keeps, its row here changes.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from specc.lower.cell import Cell
from specc.lower.program import Function, Kernel, Matrix, Record, Rows, Value, walk
from specc.lower.shape import Domain
from specc.ops import OPS
from specc.ops.definition import Pointwise
from specc.passes.placement import BYTES
from specc.plan.lengths import Lengths
from specc.types.axis import Axis, Type

# What blocks of sequences of like length are longer with padding, as measured (specc_runtime.ops.attention).
_BLOCK_GROWTH, _BLOCK_STEP = 0.1, 2.0
_BLOCK = 0.2  # a block's share of all sequences
_INDEX = 8  # bytes of an index

# Whose gradients are those that came in, or parts of them.
SAME = frozenset({"add", "cat", "concat", "stack", "transfer", "add_product"})


@dataclass(frozen=True)
class Cost:
    """In bytes. kept: operands that are kept for the derivative. output: whether the value is. beside: what
    is kept besides. along: what is there as long as the value is. during: what is needed meanwhile, on the
    way there. back: what is needed on the way back, beside the gradients; first: before there are any."""

    kept: tuple[Value, ...] = ()
    output: bool = False
    beside: float = 0.0
    along: float = 0.0
    during: float = 0.0
    back: float = 0.0
    first: float = 0.0


@dataclass
class Sizes:
    """Bytes of values and rows in one batch."""

    batch: int
    lengths: Lengths
    _rows: dict[frozenset[Axis], float] = field(default_factory=dict)

    def rows(self, domain: Domain | None) -> float:
        """How many rows a domain has; what is the same everywhere has one."""
        if domain is None:
            return 1.0
        axes = closed(domain.axes)
        if axes not in self._rows:
            self._rows[axes] = self.batch * self.lengths.positions(Type(tuple(axes), 1))
        return self._rows[axes]

    def value(self, value: Value) -> float:
        size = 1 if value.dtype == "mask" else BYTES
        return 0.0 if value.dtype == "number" else self.numbers(value) * size * self.rows(value.shape.domain)

    def numbers(self, value: Value) -> float:
        """How many numbers there are in one row."""
        return float(value.width * math.prod(a.size or 1 for a in value.shape.dims))


def closed(axes: frozenset[Axis]) -> frozenset[Axis]:
    """With the axes that they are nested in."""
    found = set(axes)
    for axis in axes:
        step = axis.parent
        while step is not None:
            found.add(step)
            step = step.parent
    return frozenset(found)


def cost(kernel: Kernel, sizes: Sizes, learns: Collection[Value], training: bool) -> Cost:
    """What a kernel takes. learns: the values that a gradient flows through."""
    result = next((r for r in kernel.results if r is not None), None)
    if result is None:
        return Cost()
    own = sizes.value(result)
    every = tuple(x for x in kernel.operands() if x.dtype != "number")
    learnt = tuple(x for x in every if x in learns)
    name, _, of = kernel.name.partition(".")
    match name:
        case "mul" | "dot":
            # Each factor is kept for the other's derivative.
            kept = tuple(
                x for n, x in enumerate(every) if any(y in learns for y in every[:n] + every[n + 1 :])
            )
            inner = own * max(x.width for x in every) if name == "dot" else 0.0
            return Cost(kept, during=inner)
        case "div" | "pow":
            return Cost(every if learnt else (), during=own)
        case "weighted_sum" | "paired" | "product":
            # What is in between is of a few rows.
            return Cost(every if learnt else ())
        case "linear" | "product_of" | "convolve" | "matmul" | "fan" | "per_head":
            return Cost(every[:1])
        case "add_product":
            return Cost(every[1:])
        case "norm":
            return Cost(every, beside=2 * own / result.width)
        case "batch_norm":
            return Cost(every, beside=own, during=own, back=own)
        case "dice":
            return Cost(every, beside=own, during=own if training else 0.0, back=3 * own)
        case "prelu":
            return Cost(every, beside=0.25 * own, during=own, back=own)
        case "dropout":
            return Cost(beside=own if training else 0.0, during=own if training else 0.0)
        case "segment" | "along" | "channels" | "dense" if of:
            return _reduction(name, of, own, every, sizes)
        case "pairs":
            return Cost(beside=2 * own, back=2 * own)
        case "bce" | "mse" | "cross_entropy" | "binary_loss" | "real_loss" | "class_loss":
            return Cost(every, beside=own, during=own)
        case "attend":
            return _attention(kernel, result, sizes, training)
        case "recur":
            return _recurrence(kernel, sizes, training)
        case "scan" | "scan_along" | "scan_together":
            return _scan(kernel, result, sizes)
        case "by_tile":
            return _tiled(kernel, result, sizes)
    known = OPS.get(name)
    if known is None or not isinstance(known.lowering, Pointwise):
        return Cost()
    if known.derivative is None:  # nobody has said
        return Cost(every, output=True)
    if known.derivative.inputs and kernel.over is None:
        return Cost(every)
    return Cost(output=known.derivative.inputs or known.derivative.output)


def _reduction(kind: str, of: str, own: float, every: tuple[Value, ...], sizes: Sizes) -> Cost:
    if of == "softmax":
        if kind != "segment":
            return Cost(output=True, during=own)
        # The exponentials and the sums below them.
        return Cost(beside=2 * own, during=own, back=own)
    if of in ("sum", "mean"):
        return Cost(during=own if kind == "segment" else 0.0)
    if of in ("max", "min"):
        return Cost(every[:1], output=True, back=sizes.value(every[0]))
    return Cost()


def _attention(kernel: Kernel, result: Value, sizes: Sizes, training: bool) -> Cost:
    """Blocks of padded sequences (specc_runtime.ops.attention). Heads that share a key are more queries, and
    the weights of a block's pairs are there; heads of their own are torch's fused attention, if values are as
    wide as queries, or else its plain way."""
    query, key, value, _, key_rows, query_axis, key_axis, *_ = kernel.args
    where = kernel.args[8] if len(kernel.args) > 8 else "all"
    given = key if value is None else value
    choice = kernel.options.get("in_c_from")
    if choice is not None and choice.holds(sizes.value(key) / BYTES):
        # One query a sequence, in C: it makes the weights and nothing else.
        weights = BYTES * sizes.rows(key_rows.domain) * math.prod(a.size or 1 for a in result.shape.dims)
        return Cost(tuple(kernel.operands()), beside=weights) if training else Cost(during=weights)
    padding = _padding(key_rows.domain, key_axis, sizes)
    padded = {
        x: (1.0 if x is query and query_axis is None else padding) * BYTES * sizes.rows(x.shape.domain)
        for x in (query, key, given)
    }
    own_heads = {x: _heads(x) for x in (query, key, given)}
    heads = float(math.prod(a.size or 1 for a in result.shape.dims))
    shared = where == "all" and own_heads[key] == 1
    asked = padded[query] * heads * query.width
    known = padded[key] * (1 if shared else heads) * key.width
    own_values = own_heads[given] if shared else heads
    values = 0.0 if value is None else padded[given] * own_values * given.width
    out = padded[query] * heads * result.width
    index = 4 * _INDEX * sizes.rows(key_rows.domain)
    if not shared and given.width == query.width:
        kept = asked + known + values + out
        return Cost(beside=kept + index, during=out, back=kept)
    both = query.shape.domain | key_rows.domain
    pairs = padding * (1.0 if query_axis is None else padding) * BYTES * heads * sizes.rows(both)
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


def _padding(domain: Domain, axis: Axis, sizes: Sizes) -> float:
    """How much longer sequences are with the padding of their blocks: the larger of a tenth and of two
    positions, on average. None where all are at the bound."""
    if not sizes.lengths.moments:
        return 1.0
    length = sizes.rows(domain) / max(sizes.rows(domain.without(axis)), 1.0)
    return 1.0 + max(_BLOCK_GROWTH, _BLOCK_STEP / max(length, 1.0))


def _heads(value: Value) -> float:
    """How many there are; 1 where all share one."""
    return float(math.prod(a.size or 1 for a in value.shape.dims))


def _recurrence(kernel: Kernel, sizes: Sizes, training: bool) -> Cost:
    """The loop with a compiled derivative (specc_runtime.ops.cell)."""
    cell, rows, _, values, *_ = kernel.args
    assert isinstance(cell, Cell)
    rows_ = sizes.rows(rows.domain)
    a_row, index = BYTES * rows_, 3 * _INDEX * rows_
    widths = [_width(x) for x in values]
    seen, states = sum(widths), sum(cell.states)
    # Of those in the order of steps, which another recurrence reads, the value is what the loop wrote.
    wanted = _wanted(kernel, cell)
    places = [n for n, want in enumerate(wanted) for _ in range(1 + (want == "BOTH"))]
    in_steps = [r for n, r in enumerate(kernel.results) if n and r is not None and places[n] == places[n - 1]]
    if not training:
        # Products at the rows of others are repeated first, and put in the order of steps.
        projected = [x for x in values if isinstance(x, Record)]
        by_chunk = sum(_width(x) for x in projected if len(x.args) < 5)
        again = sum(_width(x) for x in projected if len(x.args) == 5)
        chunk = min(rows_, float(cell.at_once)) * BYTES * by_chunk
        return Cost(during=a_row * (seen - by_chunk + again) + chunk + index)
    sloped = sum(w for w, s in zip(widths, cell.sloped, strict=True) if s)
    made = sum(width for width, place in zip(cell.outs, cell.places, strict=True) if place is None)
    return Cost(
        tuple(in_steps),
        beside=a_row * (cell.beside + seen + states - sum(r.width for r in in_steps)) + index,
        # Derivatives by step, and what the matrices multiplied, put together.
        back=a_row * (states + made + sloped + sum(cell.factors)),
    )


def _wanted(kernel: Kernel, cell: Cell) -> list[str]:
    """What is wanted of each state."""
    wanted = kernel.options.get("wanted")
    return ["ALL"] * len(cell.states) if wanted is None else [symbol.name for symbol in wanted]


def _width(value: Value | Record) -> int:
    if isinstance(value, Value):
        return value.width
    matrix = value.args[1]
    assert isinstance(matrix, Matrix)
    return sum(p.width for p in matrix.products)


def _scan(kernel: Kernel, result: Value, sizes: Sizes) -> Cost:
    """The plain loop: every step's operations are recorded."""
    step = kernel.args[0]
    assert isinstance(step, Function)
    rows = sizes.rows(result.shape.domain)
    inner = sum(sizes.numbers(r) for k in walk(step) for r in k.results if r is not None and r.base is None)
    seen = sum(sizes.value(x) for x in kernel.operands())
    kept = BYTES * rows * inner
    own = sizes.value(result)
    return Cost(beside=kept + seen, during=own, back=seen + own)


def _tiled(kernel: Kernel, result: Value, sizes: Sizes) -> Cost:
    """A few rows at a time; computed again on the way back, with what its derivatives keep."""
    function, rows, *given = kernel.args
    assert isinstance(function, Function)
    inner = [(k, r) for k in function.kernels for r in k.results if r is not None and r.buffer is r]
    most = max((sizes.numbers(r) for _, r in inner), default=1.0)
    # The factors of pairs are there beside the products.
    kept = sum(sizes.numbers(r) * (3 if k.name == "pairs" else 1) for k, r in inner)
    rows = min(rows, sizes.batch)
    tile = BYTES * rows * (kept + most)
    values = sum(sizes.value(x) for x in given)
    forward = BYTES * rows * 2 * most + sizes.value(result)
    before = values * (1 - rows / max(sizes.batch, 1))  # the gradients of all tiles but the last
    return Cost(tuple(given), during=forward, back=values, first=before + tile)


def rows_kept(sizes: Sizes, domains: Collection[Rows]) -> float:
    """The index tensors of a batch: of each combination of axes, whose rows they are, and where."""
    return sum(4 * _INDEX * sizes.rows(r.domain) for r in domains if r.domain.axes)
