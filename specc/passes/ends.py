"""What an operation along an appended axis makes of the history and of the last position.

    sum(x)      = sum(history) + last
    softmax(x)  = softmax(history) * p, 1 - p   where p = sigmoid(logsumexp(history) - last)

Promises: the same values up to rounding, also where there is no history, or a condition leaves nothing of it.
What cannot be said in this way is refused (Whole): where it depends on the example whether the last position
counts, and the extremes, whose gradient equals share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from specc.frozen import dataclass
from specc.ir.graph import Node
from specc.ops import op, traits
from specc.passes.ranges import Known
from specc.passes.rewrite import Builder
from specc.types.axis import Axis, Type, union
from specc.types.kinds import never_empty, root

Pair = tuple[int, int]  # along the history, and at the last position


class Whole(Exception):
    """Raised where a value is not taken apart."""


@dataclass(frozen=True)
class Ends:
    """The two ends of what `node` goes along.

    axis: that of the history. head: the value along it. where: the condition there, None for all of it.
    last: the value at the last position. some, counts: whether anything of the history counts, and the last
    position does.
    """

    builder: Builder
    node: Node
    axis: Axis
    head: int
    where: int | None
    last: int
    some: bool
    counts: bool

    @staticmethod
    def of(builder: Builder, known: Known, node: Node, axis: Axis, x: Pair, where: Pair | None) -> Ends:
        """Raises Whole where it is not known whether the last position counts."""
        some, counts, mask = True, True, None
        if where is not None:
            first, last = map(known.number, where)
            if last is None:
                raise Whole
            some, counts = first != 0, last != 0
            mask = where[0] if first is None else None
        if node.op == op.SUM:
            first, last = map(known.number, x)
            some, counts = some and first != 0, counts and last != 0
        return Ends(builder, node, axis, x[0], mask, x[1], some, counts)

    def over(self, name: str, keeps: bool = False) -> int:
        """Return what an operation makes of the history alone; keeps: whether its value has the axis, too."""
        inputs = (self.head,) if self.where is None else (self.head, self.where)
        types = [self.builder.node(i).type for i in inputs]
        type_ = Type(union(*types), types[0].width)
        if not type_.has(self.axis):
            raise Whole
        attrs = {"axis": self.axis}
        return self.builder.add(name, inputs, type_ if keeps else type_.without(self.axis), self.node, attrs)

    def there(self) -> int | None:
        """Return whether anything of the history counts, as a number; None where something always does."""
        zero = self.number(0)
        if self.where is None:
            if never_empty(self.axis):
                return None
            return self.make(op.GT, self.length(), zero)
        mask = self.builder.node(self.where)
        return self._reduced(op.MAX, mask.id if traits(mask).condition else self.make(op.NE, mask.id, zero))

    def count(self) -> int:
        """Return how much of the history counts, as a number."""
        if self.where is None:
            return self.length()
        mask = self.builder.node(self.where)
        condition = mask.id if traits(mask).condition else self.make(op.NE, mask.id, self.number(0))
        return self._reduced(op.SUM, condition)

    def _reduced(self, name: str, id: int) -> int:
        type_ = self.builder.node(id).type
        if not type_.has(self.axis):
            raise Whole
        return self.builder.add(name, (id,), type_.without(self.axis), self.node, {"axis": self.axis})

    def length(self) -> int:
        axis = root(self.axis)
        return self.builder.source(op.LENGTH, Type(axis.chain[:-1], 1), self.node, {"axis": axis})

    def number(self, value: float) -> int:
        return self.builder.source(op.CONSTANT, Type((), 1), self.node, {"value": value})

    def make(self, name: str, *inputs: int) -> int:
        """Return an operation that broadcasts."""
        return self.builder.pointwise(name, self.node, *inputs)

    def share(self) -> int:
        """Return the part of a softmax that falls on the history."""
        share = self.make(op.SIGMOID, self.make(op.SUB, self.over(op.LOGSUMEXP), self.last))
        there = self.there()
        return share if there is None else self.make(op.MUL, share, there)


Joined = Mapping[bool, int]
"""The result; of an operation that keeps the axis its parts: by whether it is of the last position."""


def _sum(ends: Ends) -> Joined:
    if not ends.some:
        return {False: _last(ends)}
    total = ends.over(op.SUM)
    return {False: ends.make(op.ADD, total, ends.last) if ends.counts else total}


def _mean(ends: Ends) -> Joined:
    if not (ends.some and ends.counts):
        return _either(ends)
    total = ends.make(op.ADD, ends.over(op.SUM), ends.last)
    return {False: ends.make(op.DIV, total, ends.make(op.ADD, ends.count(), ends.number(1)))}


def _logsumexp(ends: Ends) -> Joined:
    if not (ends.some and ends.counts):
        return _either(ends)
    more, there = ends.make(op.SOFTPLUS, ends.make(op.SUB, ends.over(op.LOGSUMEXP), ends.last)), ends.there()
    return {False: ends.make(op.ADD, ends.last, more if there is None else ends.make(op.MUL, more, there))}


def _final(ends: Ends) -> Joined:
    return {False: ends.last} if ends.counts else _either(ends)


def _first(ends: Ends) -> Joined:
    if ends.counts and ends.some and not (ends.where is None and never_empty(ends.axis)):
        raise Whole
    return {False: ends.over(op.FIRST)} if ends.some else {False: _last(ends)}


def _either(ends: Ends) -> Joined:
    """A reduction to which only one of the two comes."""
    if ends.some and ends.counts:
        raise Whole
    return {False: ends.over(ends.node.op) if ends.some else _last(ends)}


def _softmax(ends: Ends) -> Joined:
    if not ends.some:
        raise Whole
    head = ends.over(op.SOFTMAX, keeps=True)
    if not ends.counts:
        return {False: head, True: ends.make(op.MUL, ends.last, ends.number(0))}
    share = ends.share()
    return {False: ends.make(op.MUL, head, share), True: ends.make(op.SUB, ends.number(1), share)}


def _cumsum(ends: Ends) -> Joined:
    if not ends.some:
        raise Whole
    head, total = ends.over(op.CUMSUM, keeps=True), ends.over(op.SUM)
    return {False: head, True: ends.make(op.ADD, total, ends.last) if ends.counts else total}


def _last(ends: Ends) -> int:
    """The last position, of which alone something counts."""
    if not ends.counts:
        raise Whole
    return ends.last


JOINED: Mapping[str, Callable[[Ends], Joined]] = {
    op.SUM: _sum,
    op.MEAN: _mean,
    op.LOGSUMEXP: _logsumexp,
    op.SOFTMAX: _softmax,
    op.CUMSUM: _cumsum,
    op.LAST: _final,
    op.FIRST: _first,
    op.MAX: _either,
    op.MIN: _either,
}
