"""Sums of products as products of matrices.

    sum(a * b, over i),  sum(dot(a, b), over i),  sum(sum(a * b, over i), over j)  =  contract(a, b)
    sum(a * (b * c), over i)                      =  contract(a * c, b)
    sum(sum(a * b, over i) * c, over j)           =  contract(a, contract(b, c, over j), over i)

Assumes: nothing; what stands in loops and tiles stays. Promises: the same values up to rounding. A sum
becomes a contraction where each of the factors has something that the other lacks and that stays: the product
of the two would be larger than both. Along a static axis that is an axis, channels, or rows (one of the two
is the same in all examples); along a sequence it is a static axis or channels. Of several factors two at a
time are multiplied, in the order that takes the least. A `dot` is a contraction by itself
(specc_runtime.ops.dot).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

from specc.frozen import dataclass
from specc.ir.graph import Graph, Node
from specc.ops import Origin, op, pure, traits
from specc.passes.rewrite import Builder, rewrite, uses_of
from specc.types.axis import Axis, Type, union

CHANNELS, ROWS = "channels", "rows"
Dim = Axis | str
Dims = frozenset[Dim]
_MOST = 5  # factors: of six there are 2,700 orders
_EXAMPLES = 256  # that a batch is taken to have
_WORTH = 0.8  # of what it takes as it is written, at most
_COPIES = 3  # of each factor, to make blocks of sequences: with 8 by 16 numbers at a position it is even
_KEPT = 8  # what writing and reading a number takes, in multiplications


def contract_sums(graph: Graph) -> Graph:
    return rewrite(graph, _Sums(graph).rule)


@dataclass(frozen=True)
class _Product:
    """A product of factors, nodes by id, summed over some of their dimensions. dims: what it has itself.
    cost: what it takes as it is written."""

    factors: tuple[int, ...]
    dims: Dims
    summed: Dims = frozenset()
    cost: float = 0.0


@dataclass(frozen=True)
class _Term:
    """A factor, or what two terms are multiplied to and then summed over. cost: what all of it takes."""

    dims: Dims
    of: int | tuple[_Term, _Term]
    over: Dims = frozenset()
    cost: float = 0.0


class _Sums:
    def __init__(self, graph: Graph) -> None:
        self.uses = uses_of(graph)
        self.top = {n.id for n in graph.nodes}
        self.same = _same_everywhere(graph)
        self.sizes: dict[Dim, int] = {}

    def rule(self, node: Node, builder: Builder) -> int | None:
        if node.id not in self.top or node.op != op.SUM or len(node.inputs) > 1:
            return None
        axis = node.attrs["axis"]
        if not isinstance(axis, Axis):
            return None
        product = self._product(builder, node.inputs[0], axis)
        if len(product.factors) < 2:
            return None
        best = self._best(builder, product.factors, product.summed | {axis})
        if best.cost > _WORTH * (product.cost + self._size(product.dims)):
            return None
        found = self._made(builder, best, node)
        self.uses[found] = self.uses[node.id]
        return found

    # ------------------------------------------------------------ what is multiplied

    def _product(self, builder: Builder, id: int, axis: Axis) -> _Product:
        """Return a value, which is summed over an axis, as a product; a value that is read elsewhere too, or
        is none, is its one factor. Of sequences a product is summed over one."""
        node = builder.node(id)
        alone = self._alone(builder, id)
        summed = _summed_in(node)
        if summed is None or self.uses[id] > 1 or (axis.ragged and _sequences(summed)):
            return alone
        if node.op != op.MUL:
            sides = [self._alone(builder, i) for i in node.inputs]
        else:
            sides = [self._product(builder, i, axis) for i in node.inputs]
            for number in (0, 1):
                # What one side is summed over may stand for itself in the other.
                if sides[number].summed & self._dims_of(builder, sides[1 - number].factors):
                    sides[number] = self._alone(builder, node.inputs[number])
            together = sides[0].summed | sides[1].summed
            if sum(len(s.factors) for s in sides) > _MOST or len(_sequences(together)) > 1:
                sides = [self._alone(builder, i) for i in node.inputs]
        first, second = sides
        cost = first.cost + second.cost + self._cost(first.dims, second.dims, summed)
        return _Product(
            (*first.factors, *second.factors), alone.dims, first.summed | second.summed | summed, cost
        )

    def _alone(self, builder: Builder, id: int) -> _Product:
        return _Product((id,), self._dims(builder, id))

    def _dims_of(self, builder: Builder, factors: Iterable[int]) -> Dims:
        return frozenset().union(*(self._dims(builder, i) for i in factors))

    def _dims(self, builder: Builder, id: int) -> Dims:
        """Return what a value has several of."""
        node = builder.node(id)
        found: set[Dim] = set(node.type.axes)
        for axis in node.type.axes:
            self.sizes[axis] = max(axis.bound, 1)
        if node.type.width > 1:
            found.add(CHANNELS)
            self.sizes[CHANNELS] = node.type.width
        if id not in self.same:
            found.add(ROWS)
            self.sizes[ROWS] = _EXAMPLES
        return frozenset(found)

    # ------------------------------------------------------------ in which order

    def _best(self, builder: Builder, factors: tuple[int, ...], summed: Dims) -> _Term:
        terms = [_Term(self._dims(builder, i), i) for i in factors]
        first = [self._summed_first(term, terms, summed) for term in terms]
        return min(self._orders(first, summed), key=lambda term: term.cost)

    def _summed_first(self, term: _Term, terms: list[_Term], summed: Dims) -> _Term:
        """Return a factor summed over what no other has."""
        others = frozenset().union(*(t.dims for t in terms if t is not term))
        over = (term.dims & summed) - others
        if not over:
            return term
        return _Term(term.dims - over, term.of, over, self._size(term.dims))

    def _orders(self, terms: list[_Term], summed: Dims) -> Iterator[_Term]:
        """Yield what the terms are together, in every order of multiplying two at a time."""
        if len(terms) == 1:
            yield terms[0]
            return
        for a, b in combinations(range(len(terms)), 2):
            rest = [t for n, t in enumerate(terms) if n not in (a, b)]
            yield from self._orders([*rest, self._pair(terms[a], terms[b], rest, summed)], summed)

    def _pair(self, a: _Term, b: _Term, rest: list[_Term], summed: Dims) -> _Term:
        whole = a.dims | b.dims
        over = (whole & summed) - frozenset().union(*(t.dims for t in rest))
        cost = a.cost + b.cost + self._cost(a.dims, b.dims, over)
        return _Term(whole - over, (a, b), over, cost)

    def _cost(self, a: Dims, b: Dims, over: Dims) -> float:
        """Return what it takes to multiply two and sum over some of what they have."""
        whole = self._size(a | b)
        if over and _crossed(a, b, over):
            padded = self._size(a) + self._size(b) if _sequences(over) else 0.0
            return whole + _KEPT * (self._size((a | b) - over) + _COPIES * padded)
        return whole + _KEPT * whole + (whole if over else 0.0)

    def _size(self, dims: Dims) -> float:
        size = 1.0
        for dim in dims:
            size *= self.sizes[dim]
        return size

    # ------------------------------------------------------------ as nodes

    def _made(self, builder: Builder, term: _Term, like: Node, name: bool = True) -> int:
        if isinstance(term.of, int):
            return self._summed(builder, term.of, term.over, like)
        a, b = term.of
        inputs = tuple(self._made(builder, t, like, False) for t in term.of)
        over = tuple(d for d in sorted(term.over, key=str) if isinstance(d, Axis))
        named = like.name if name else None
        if not over or not _crossed(a.dims, b.dims, term.over):
            both = op.DOT if CHANNELS in term.over else op.MUL
            types = [builder.node(i).type for i in inputs]
            width = 1 if both == op.DOT else max(t.width for t in types)
            found = builder.add(both, inputs, Type(union(*types), width), like)
            return self._summed(builder, self._noted(builder, found), term.over - {CHANNELS}, like)
        types = [builder.node(i).type for i in inputs]
        width = 1 if CHANNELS in term.over else max(t.width for t in types)
        type_ = Type(tuple(a for a in union(*types) if a not in over), width)
        attrs = {"over": over, "channels": CHANNELS in term.over}
        return self._noted(builder, builder.add(op.CONTRACT, inputs, type_, like, attrs, name=named))

    def _summed(self, builder: Builder, id: int, over: Dims, like: Node) -> int:
        for dim in sorted(over, key=str):
            type_ = builder.node(id).type
            axis = dim if isinstance(dim, Axis) else None
            rest = type_.with_width(1) if axis is None else type_.without(axis)
            id = self._noted(builder, builder.add(op.SUM, (id,), rest, like, {"axis": axis}))
        return id

    def _noted(self, builder: Builder, id: int) -> int:
        """Take notice of a new node, which one other reads."""
        self.uses[id] = 1
        if all(i in self.same for i in builder.node(id).inputs):
            self.same.add(id)
        return id


def _summed_in(node: Node) -> Dims | None:
    """Return what a product of two is summed over; None for what is no product."""
    match node.op:
        case op.MUL:
            return frozenset()
        case op.DOT:
            return frozenset({CHANNELS})
        case op.CONTRACT:
            return frozenset({*node.attrs["over"], *((CHANNELS,) if node.attrs["channels"] else ())})
    return None


def _sequences(dims: Dims) -> list[Axis]:
    return [d for d in dims if isinstance(d, Axis) and d.ragged]


def _crossed(a: Dims, b: Dims, over: Dims) -> bool:
    """Return whether each of two factors has something that stays and that the other lacks."""
    left, right = _stays(a, over), _stays(b, over)
    return bool(left - right) and bool(right - left)


def _stays(dims: Dims, over: Dims) -> Dims:
    """Return what a matrix of a product that is summed over some dimensions can have as its own: along a
    sequence each example has a matrix."""
    along = any(isinstance(d, Axis) and d.ragged for d in over)
    own = (d for d in dims - over if not (d.ragged if isinstance(d, Axis) else along and d == ROWS))
    return frozenset(own)


def _same_everywhere(graph: Graph) -> set[int]:
    """The nodes that are the same in every example."""
    found: set[int] = set()
    for node in graph.nodes:
        own = traits(node).source
        fixed = own in (Origin.PARAMETER, Origin.LITERAL) and not any(a.ragged for a in node.type.axes)
        made = node.region is None and pure(node) and node.inputs and all(i in found for i in node.inputs)
        if fixed or (own is None and made):
            found.add(node.id)
    return found
