"""What each kernel saves for backward, and the workspace that it needs in both directions.

These follow the kernels that compiled models call (specc_runtime.ops, and torch's own derivatives); where one
of those changes what it keeps, its row here changes.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from specc.ir.graph import Graph
from specc.lower.cell import Cell
from specc.lower.program import Function, Heads, Kernel, Matrix, Record, Rows, Value, walk
from specc.lower.shape import Domain, Shape
from specc.ops import OPS
from specc.ops.definition import Pointwise
from specc.ops.products import Product
from specc.passes.placement import BYTES
from specc.plan.blocks import blocks
from specc.plan.lengths import Lengths
from specc.types.axis import Axis, Type

_PIECE = 2**22  # products with rows of a table that are there at once, specc_runtime.ops.catalogue
_INDEX = 8  # bytes of an index

# Whose gradients are those that came in, or parts of them.
SAME = frozenset({"add", "cat", "concat", "stack", "transfer", "add_product"})


@dataclass(frozen=True)
class Cost:
    """What a kernel takes, in bytes.

    kept: operands that are saved for backward. output: whether the result is saved. beside: other tensors
    that are saved. along: tensors that live as long as the result. during: workspace of the forward pass.
    back: workspace of the backward pass, beside the gradients; first: workspace before gradients of operands
    are allocated, after which what was saved is released.
    """

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
    tile: int = 0
    _rows: dict[frozenset[Axis], float] = field(default_factory=dict)

    def of_rows(self, rows: int) -> Sizes:
        """Return the sizes with so many rows in every domain: those of a tile."""
        return Sizes(self.batch, self.lengths, rows)

    def rows(self, domain: Domain | None) -> float:
        """Return how many rows a domain has: 1 for a value that is the same everywhere."""
        if domain is None:
            return 1.0
        if self.tile:
            return float(self.tile)
        axes = closed(domain.axes)
        if axes not in self._rows:
            self._rows[axes] = self.batch * self.lengths.positions(Type(tuple(axes), 1))
        return self._rows[axes]

    def value(self, value: Value) -> float:
        size = 1 if value.dtype == "mask" else BYTES
        return 0.0 if value.dtype == "number" else self.numbers(value) * size * self.rows(value.shape.domain)

    def numbers(self, value: Value) -> float:
        """Return how many numbers one row has. A view along dimensions of size 1 has no more than its
        base."""
        own = float(value.width * math.prod(a.size or 1 for a in value.shape.dims))
        return own if value.base is None else min(own, self.numbers(value.base))


def closed(axes: frozenset[Axis]) -> frozenset[Axis]:
    """Return the axes with those that they are nested in."""
    found = set(axes)
    for axis in axes:
        step = axis.parent
        while step is not None:
            found.add(step)
            step = step.parent
    return frozenset(found)


def cost(kernel: Kernel, sizes: Sizes, learns: Collection[Value], training: bool) -> Cost:
    """Return what a kernel takes. learns: the values that have a gradient."""
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
            inner = own * max(x.width for x in every) if name == "dot" and not _crossed(every) else 0.0
            return Cost(kept, during=inner)
        case "div" | "pow":
            return Cost(every if learnt else (), during=own)
        case "weighted_sum" | "paired" | "product" | "additive_score":
            # What is in between is of a few rows.
            return Cost(every if learnt else ())
        case "contract":
            return Cost(every if learnt else ())
        case "dot_by_sequence":
            # A padded copy of the vectors, and of the matrices in another order.
            whole = sum(map(sizes.value, every))
            return Cost(beside=whole, back=whole + own) if learnt else Cost(during=whole + own)
        case "contract_rows":
            # Padded copies of the factors, which are what is kept.
            whole = sum(map(sizes.value, every))
            return Cost(beside=whole, back=whole) if learnt else Cost(during=whole)
        case "linear" | "product_of" | "convolve" | "matmul" | "fan" | "per_head":
            return Cost(every[:1])
        case "add_product":
            return Cost(every[1:])
        case "norm":
            return Cost(every, beside=2 * own / result.width)
        case "batch_norm":
            return Cost(every, beside=own, during=own, back=own)
        case "batch_norm_by":
            return Cost(every, beside=4 * own, during=own, back=2 * own)
        case "dice":
            return Cost(every, beside=own, during=own if training else 0.0, back=3 * own)
        case "prelu":
            return Cost(every, beside=0.25 * own, during=own, back=own)
        case "dropout":
            return Cost(beside=own if training else 0.0)
        case "segment" | "along" | "channels" | "dense" if of:
            return _reduction(name, of, own, every, sizes)
        case "pairs":
            if kernel.options["in_c_from"].holds(own / BYTES):
                return Cost(every)
            return Cost(beside=2 * own, first=2 * own)
        case "row_loss":
            return Cost(every[:1], during=own + 2 * BYTES * _PIECE, back=2 * BYTES * _PIECE)
        case "bce" | "mse" | "cross_entropy" | "binary_loss" | "real_loss" | "class_loss" | "table_loss":
            return Cost(every, beside=own, during=own)
        case "attend":
            return _attention(kernel, result, sizes, training)
        case "recur":
            return _recurrence(kernel, sizes, training)
        case "scan" | "scan_along" | "scan_together":
            return _scan(kernel, result, sizes)
    if not is_pointwise(kernel):
        return Cost()
    known = OPS[name]
    if known.derivative is None:  # nobody has said
        return Cost(every, output=True)
    if known.derivative.inputs and kernel.over is None:
        return Cost(every)
    return Cost(output=known.derivative.inputs or known.derivative.output)


def is_pointwise(kernel: Kernel) -> bool:
    """Return whether a kernel computes each number from the numbers at its place."""
    return kernel.name in OPS and isinstance(OPS[kernel.name].lowering, Pointwise)


def _crossed(factors: tuple[Value, ...]) -> bool:
    """Whether each of two has rows or a dimension that the other lacks: it is a product of matrices."""
    has = [{*x.shape.dims, *(() if x.shape.domain is None else ("rows",))} for x in factors]
    return len(has) == 2 and bool(has[0] - has[1]) and bool(has[1] - has[0])


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
    """Return the cost of attention (specc_runtime.ops.attention).

    In C, from a size on, each sequence is computed by itself. Else sequences are padded in blocks. Heads that
    share a key are computed as more queries, and the weights of a block's pairs are materialised; other
    heads by torch's fused attention if values are as wide as queries, else unfused.
    """
    _, _, _, query_rows, key_rows, query_axis, key_axis, *_ = kernel.args
    given_rows = (query_rows, key_rows, key_rows)
    query, key, value = (_whole(x, r) for x, r in zip(kernel.args[:3], given_rows, strict=True))
    # A history and its end are put together here; without gradients the two go as that comes.
    parts = zip(kernel.args[:3], (query, key, value), strict=True)
    made = sum(sizes.value(x) for given, x in parts if isinstance(given, Record)) if training else 0.0
    where = kernel.args[8] if len(kernel.args) > 8 else "all"
    given = key if value is None else value
    heads = float(math.prod(a.size or 1 for a in result.shape.dims))
    choice = kernel.options.get("in_c_from")
    if choice is not None and choice.holds(sizes.value(key) / BYTES):
        # Of one query a sequence the weights are kept, of every position they are computed again.
        weights = BYTES * sizes.rows(key_rows.domain) * heads if query_axis is None else 0.0
        kept = tuple(x for x in kernel.args[:3] if isinstance(x, Value))
        return Cost(kept, beside=weights + made) if training else Cost(during=weights + made)
    sequences = sizes.rows(key_rows.domain.without(key_axis))
    found = blocks(int(sequences), *sizes.lengths.spread(key_axis), key_axis.bound)
    places = BYTES * sequences * found.places
    asked_places = BYTES * sequences if query_axis is None else places
    pairs = heads * BYTES * sequences * (found.places if query_axis is None else found.pairs)
    alone = {x: where == "all" and sizes.numbers(x) == x.width for x in (key, given)}
    shared = heads > 1 and alone[key]
    asked, out = (asked_places * heads * x.width for x in (query, result))
    known = places * (1 if shared else heads) * key.width
    values = 0.0 if value is None else places * (1 if shared and alone[given] else heads) * given.width
    read, own = asked + known + values, sizes.value(result)
    if shared:
        # Where there is padding, weights are there before and after what it hides; a product by head copies.
        copied = 0.0 if alone[given] else values + pairs
        kept = read + pairs * (1 + found.masked) + copied
        block = found.largest * (asked + 3 * pairs + copied)
        if not training:
            return Cost(during=made + read + max(2 * out, out + block - own))
        return Cost(beside=kept, during=made + asked + 2 * out, back=read + found.largest * 2 * pairs)
    mask = found.masked * (places if where == "all" else pairs / heads)
    if given.width != query.width:
        kept = 2 * read + 2 * pairs + mask
        block = found.largest * (read + 3 * pairs)
        if not training:
            return Cost(during=made + read + max(2 * out, out + block - own))
        return Cost(beside=kept, during=made + 2 * out, back=read + found.largest * 2 * pairs)
    # Of each query the logarithm of the sum below its weights.
    sums = asked_places * heads
    if not training:
        return Cost(during=made + read + 2 * out)
    # Gradients of blocks come as what is kept of their results goes; what was read goes last, together.
    last = found.first * (out + sums)
    workspace = {"during": made + out, "back": values, "first": read + last - sums - own}
    return Cost(beside=read + out + sums + mask, **workspace)


def _whole(x: Value | Record | None, rows: Rows) -> Any:
    """Return an operand; of a history with one more at its end the two put together."""
    if not isinstance(x, Record):
        return x
    head = x.args[0]
    return Value(-1, Shape(rows.domain, head.shape.dims), head.width, base=head)


def _recurrence(kernel: Kernel, sizes: Sizes, training: bool) -> Cost:
    """Return the cost of a loop with a compiled derivative (specc_runtime.ops.cell)."""
    cell, rows, axis, values, constants, _, _, states, *_ = kernel.args
    assert isinstance(cell, Cell)
    rows_ = sizes.rows(rows.domain)
    a_row = BYTES * rows_
    # By sequence, in the order of their lengths.
    starts = BYTES * sizes.rows(rows.domain.without(axis)) * sum(x.width for x in (*constants, *states))
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
        return Cost(during=a_row * (seen - by_chunk + again) + chunk + starts)
    sloped = sum(w for w, s in zip(widths, cell.sloped, strict=True) if s)
    made = sum(width for width, place in zip(cell.outs, cell.places, strict=True) if place is None)
    return Cost(
        tuple(in_steps),
        beside=a_row * (cell.beside + seen + states - sum(r.width for r in in_steps)) + starts,
        # Derivatives by step, and what the matrices multiplied, put together.
        back=a_row * (states + made + sloped + sum(cell.factors)),
    )


def _wanted(kernel: Kernel, cell: Cell) -> list[str]:
    """Return what is wanted of each state: ALL, BOTH, FINAL or NONE."""
    wanted = kernel.options.get("wanted")
    return ["ALL"] * len(cell.states) if wanted is None else [symbol.name for symbol in wanted]


def _width(value: Value | Record) -> int:
    if isinstance(value, Value):
        return value.width
    matrix = value.args[1]
    assert isinstance(matrix, Matrix)
    return sum(p.width for p in matrix.products)


def _scan(kernel: Kernel, result: Value, sizes: Sizes) -> Cost:
    """Return the cost of the plain loop, of which autograd records every operation of every step."""
    step = kernel.args[0]
    assert isinstance(step, Function)
    rows = sizes.rows(result.shape.domain)
    inner = sum(sizes.numbers(r) for k in walk(step) for r in k.results if r is not None and r.base is None)
    seen = sum(sizes.value(x) for x in kernel.operands())
    kept = BYTES * rows * inner
    own = sizes.value(result)
    return Cost(beside=kept + seen, during=own, back=seen + own)


def rows_kept(sizes: Sizes, domains: Collection[Rows]) -> float:
    """Return the bytes of the index tensors of some rows: whose they are, and where."""
    return sum(4 * _INDEX * sizes.rows(r.domain) for r in domains if r.domain.axes)


def order_kept(kernel: Kernel, sizes: Sizes) -> float:
    """Return the bytes of the index tensors of one kernel: its rows in the order of steps, or in blocks."""
    if kernel.name == "attend":
        _, _, _, query_rows, key_rows, query_axis, *_ = kernel.args
        asked = sizes.rows(query_rows.domain) if query_axis is not None else 0.0
        return 2 * _INDEX * (asked + sizes.rows(key_rows.domain))
    return 3 * _INDEX * sizes.rows(kernel.args[1].domain) if kernel.name == "recur" else 0.0


def matrices_made(kernel: Kernel, graph: Graph) -> float:
    """Return the bytes of the matrices that a kernel builds from weights: concatenations, and sums of
    columns.

    A weight and a view of one cost nothing.
    """
    found = 0.0
    for part in kernel.parts():
        if isinstance(part, Matrix):
            one = len(part.products) == 1
            if not one or not (part.bias or _is_view(part.products[0])):
                found += BYTES * sum(p.width for p in part.products) * (1 if part.bias else part.width)
        elif isinstance(part, Heads) and part.apart and not _is_whole(part, graph):
            size = BYTES * sum((s.stop - s.start) * graph.weights[s.matrix].shape[1] for s in part.slabs)
            # A fan wants them the other way round.
            found += size * (2 if kernel.name == "fan" and part.transposed else 1)
    return found


def _is_view(product: Product) -> bool:
    """Return whether a product's matrix is a weight, or columns of one that follow each other."""
    terms = [block[0] for block in product.blocks if len(block) == 1 and block[0].coefficient == 1.0]
    follow = all(a.stop == b.start for a, b in pairwise(terms))
    return product.whole or (len(terms) == len(product.blocks) and follow)


def _is_whole(heads: Heads, graph: Graph) -> bool:
    """Return whether the matrices of heads are all of one weight, in order."""
    first = heads.slabs[0]
    ends = [0, *(s.stop for s in heads.slabs)]
    follow = all(
        s.matrix == first.matrix and s.start == end for s, end in zip(heads.slabs, ends, strict=False)
    )
    return follow and ends[-1] == graph.weights[first.matrix].shape[0]
