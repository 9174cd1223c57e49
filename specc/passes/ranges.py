"""What is known of a value before any example is there: numbers made of positions and lengths.

Promises: `Known.number` is the number that a value has at every position of every example, None where that is
not certain. A position along an axis is less than the axis's length, a length at most the axis's bound: so
`index(s) <= index(t)` is 0 where `s` is behind all that `t` counts.
"""

from __future__ import annotations

from collections.abc import Callable

from specc.frozen import dataclass
from specc.ir.graph import Node
from specc.ops import definition, op, pure, traits
from specc.types.axis import Axis
from specc.types.kinds import root

Symbol = tuple[str, Axis]  # ("index", the axis), or ("length", the axis that it is a copy of)


@dataclass(frozen=True)
class Linear:
    """constant + the sum of coefficients times positions and lengths."""

    constant: float
    terms: dict[Symbol, float]

    def times(self, by: float) -> Linear:
        return Linear(self.constant * by, {s: c * by for s, c in self.terms.items()})

    def plus(self, other: Linear) -> Linear:
        terms = {s: self.terms.get(s, 0.0) + other.terms.get(s, 0.0) for s in {**self.terms, **other.terms}}
        return Linear(self.constant + other.constant, {s: c for s, c in terms.items() if c})

    @property
    def least(self) -> float:
        """Return the smallest value that it may have: a position counts from 0 to its axis's length less 1,
        and there is one, so that the length is at least 1."""
        lowest, lengths, there = self.constant, dict[Axis, float](), set[Axis]()
        for (kind, axis), factor in self.terms.items():
            own = root(axis)
            if kind == "index":
                there.add(own)
                if factor < 0:
                    lowest -= factor
            if kind == "length" or factor < 0:
                lengths[own] = lengths.get(own, 0.0) + factor
        for axis, factor in lengths.items():
            lowest += factor * ((axis in there) if factor > 0 else axis.bound)
        return lowest


class Known:
    """node: a value by its id."""

    def __init__(self, node: Callable[[int], Node]) -> None:
        self._node = node
        self._numbers: dict[int, float | None] = {}
        self._linear: dict[int, Linear | None] = {}

    def number(self, id: int) -> float | None:
        """Return the number that a value has everywhere, or None."""
        if id not in self._numbers:
            self._numbers[id] = self._number(self._node(id))
        return self._numbers[id]

    def _number(self, node: Node) -> float | None:
        if node.op == op.CONSTANT:
            return float(node.attrs["value"])
        found = [self.number(i) for i in node.inputs]
        match node.op:
            case op.RENAME | op.SPLIT | op.JOIN | op.SLICE:
                return found[0]
            case op.DROPOUT:
                return 0.0 if found[0] == 0 else None
            case op.MUL if 0.0 in found:
                return 0.0
            case op.AND if 0.0 in found:
                return 0.0
            case op.OR if any(x for x in found):
                return 1.0
            case op.AND | op.OR if None not in found:
                return float(node.op == op.AND)  # all are not 0, or all are
            case op.NOT if found[0] is not None:
                return float(not found[0])
            case op.LT | op.LE | op.GT | op.GE | op.EQ | op.NE:
                return self._compared(node)
        fold = definition(node).fold
        if fold is None or None in found or not found or not pure(node) or not traits(node).pointwise:
            return None
        try:
            return float(fold(*found))
        except (ArithmeticError, ValueError, TypeError):
            return None

    def _compared(self, node: Node) -> float | None:
        first, second = (self.linear(i) for i in node.inputs)
        if first is None or second is None:
            return None
        more, less = first.plus(second.times(-1)), second.plus(first.times(-1))
        above, below = more.least > 0, less.least > 0  # the first is the larger one, the smaller one
        least, most = more.least >= 0, less.least >= 0  # it is at least the second, at most
        holds, fails = {
            op.LT: (below, least),
            op.LE: (most, above),
            op.GT: (above, most),
            op.GE: (least, below),
            op.EQ: (least and most, above or below),
            op.NE: (above or below, least and most),
        }[node.op]
        return 1.0 if holds else 0.0 if fails else None

    def linear(self, id: int) -> Linear | None:
        """Return a value as a sum of positions and lengths, or None."""
        if id not in self._linear:
            self._linear[id] = self._summed(self._node(id))
        return self._linear[id]

    def _summed(self, node: Node) -> Linear | None:
        if (number := self.number(node.id)) is not None:
            return Linear(number, {})
        axis = node.attrs.get("axis")
        if node.op in (op.INDEX, op.LENGTH) and isinstance(axis, Axis):
            return _counted(node.op, axis)
        if node.op == op.RENAME:
            return self._renamed(node)
        if node.op not in (op.ADD, op.SUB, op.MUL, op.NEG):
            return None
        parts = [self.linear(i) for i in node.inputs]
        if any(part is None for part in parts):
            return None
        first, *others = (part for part in parts if part is not None)
        if node.op == op.NEG:
            return first.times(-1)
        (second,) = others
        if node.op != op.MUL:
            return first.plus(second if node.op == op.ADD else second.times(-1))
        if not first.terms:
            return second.times(first.constant)
        return first.times(second.constant) if not second.terms else None

    def _renamed(self, node: Node) -> Linear | None:
        """Return a sum in which the positions are those along a copy of their axis."""
        found, old = self.linear(node.inputs[0]), node.attrs["old"]
        if found is None or any(old in axis.chain[:-1] for _, axis in found.terms):
            return None
        terms = {(kind, node.attrs["axis"] if (kind, axis) == ("index", old) else axis): factor
                 for (kind, axis), factor in found.terms.items()}  # fmt: skip
        return Linear(found.constant, terms)


def _counted(what: str, axis: Axis) -> Linear:
    if axis.size is not None and what == op.LENGTH:
        return Linear(float(axis.size), {})
    if what == op.INDEX:
        return Linear(0.0, {("index", axis): 1.0})
    own = root(axis)
    if own.kind == "appended":
        return _counted(op.LENGTH, own.source[0]).plus(Linear(1.0, {}))
    return Linear(0.0, {("length", own): 1.0})
