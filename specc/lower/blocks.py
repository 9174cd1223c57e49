"""Which kernels of scoring in C a block of rows goes through together.

Kernels that compute row by row over the same rows are a chain: some rows go through all of them before the
next ones do, so that what the kernels give each other stays in a core's cache, and only what others read is
written for all rows. A reduction of a chain's values over an axis of their rows may be its end: it adds up
block after block. Every block reads all matrices of its chain, so that these have to fit into the cache, too.

Promises: every kernel of a function is in one block, in an order in which all is known that a block reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import prod

from specc.ir.graph import Weight
from specc.lower import choices
from specc.lower.parts import read_by
from specc.lower.program import Block, Function, Kernel, Matrix, Value
from specc.lower.shape import Domain
from specc.ops import OPS, op
from specc.ops.definition import Pointwise

_PRODUCTS = {op.LINEAR: 1, "product_of": 0, "add_product": 1}  # and which argument is multiplied
_BESIDE = {"cat", "concat"}
_ROW_BY_ROW = {
    *_PRODUCTS, *_BESIDE, "per_head", "fan", "matmul", op.DOT, op.NORM, op.BATCH_NORM, op.DICE,
    "nonzero", "slice", "stack", op.PAIRS, op.FIRSTS, op.SECONDS, "append",
}  # fmt: skip
_OF_A_ROW = ("channels.", "along.")
# They only say otherwise what a value is.
_NAMES = {"transfer", "dropout", "real", "same", "split", "join", "unsqueeze", "squeeze"}
# What they give has rows that repeat.
_REPEATING = {"expand", "expand_anew", "rename", "learned", "along", op.LOOKUP, op.EMBED}
# Of what reduces rows, where these stand among the arguments.
_ENDS = {**{f"segment.{name}": 1 for name in (op.SUM, op.MEAN, op.MAX, op.MIN)}, "weighted_sum": 2}


def blocks_of(function: Function, weights: Mapping[str, Weight]) -> list[Block]:
    """The kernels of a function in blocks: chains, and every other kernel by itself."""
    return _Chains(function, weights).blocks()


@dataclass(eq=False)
class _Group:
    """Kernels with their places in the function. rows: those of a chain. behind: the groups it reads. ends:
    what is known once all rows are through. numbers: of the matrices."""

    rows: Domain | None
    kernels: list[tuple[int, Kernel]] = field(default_factory=list)
    behind: dict[_Group, None] = field(default_factory=dict)
    read: set[Value] = field(default_factory=set)
    ends: set[Value] = field(default_factory=set)
    numbers: int = 0

    @property
    def working(self) -> int:
        """How many kernels do more than say otherwise what a value is."""
        return sum(kernel.name not in _NAMES for _, kernel in self.kernels)


class _Chains:
    def __init__(self, function: Function, weights: Mapping[str, Weight]) -> None:
        self.weights = weights
        self.results = function.results
        self.kernels = function.kernels
        self.groups: list[_Group] = []
        self.made: dict[Value, _Group] = {}
        self.growing: dict[Domain, _Group] = {}
        # Values of which some channels have rows that repeat: products multiply each such row once, of all
        # rows together.
        self.repeating: set[Value] = set()
        self.multiplied = _multiplied(function.kernels)

    def blocks(self) -> list[Block]:
        for number, kernel in enumerate(self.kernels):
            if self._repeats(kernel):
                self.repeating.update(r for r in kernel.results if r is not None)
            self._place(number, kernel)
        groups = [one for group in self.groups for one in self._apart(group)]
        return [self._block(group) for group in _in_order(groups, self.made)]

    def _repeats(self, kernel: Kernel) -> bool:
        """Whether a kernel gives channels whose rows repeat."""
        known = [x in self.repeating for x in kernel.operands()]
        if kernel.name == op.ADD:
            return all(known)
        return kernel.name in _REPEATING or (kernel.name in _NAMES | _BESIDE and any(known))

    def _place(self, number: int, kernel: Kernel) -> None:
        """Put a kernel into the chain of its rows, which may put several together, or into a group of its
        own."""
        rows = self._rows(kernel)
        near = [self.made[x] for x in read_by(kernel) if x in self.made and self.made[x].rows == rows]
        near += [self.growing[rows]] if rows in self.growing else []
        found = [g for g in dict.fromkeys(near) if rows is not None and self._joins(kernel, g)]
        if not found:
            # A chain does not begin with what only names a value, or reduces one.
            found = [_Group(None if kernel.name in _NAMES | _ENDS.keys() else rows)]
            self.groups += found
        group = found[0]
        for other in found[1:]:
            if self._fit(group, other):
                self._merge(other, group)
        if group.rows is not None:
            self.growing[group.rows] = group
        self._put(number, kernel, group)

    def _fit(self, group: _Group, other: _Group) -> bool:
        """Whether two chains can be one: neither is behind the other, and there is room for both."""
        apart = not _is_behind(group, [other]) and not _is_behind(other, [group])
        return apart and group.numbers + other.numbers <= choices.MATRICES_OF_A_BLOCK

    def _merge(self, other: _Group, group: _Group) -> None:
        """Put a chain into another one."""
        self.groups.remove(other)
        for number, kernel in other.kernels:
            self._put(number, kernel, group)
        group.kernels.sort(key=lambda one: one[0])
        for one in self.groups:
            if other in one.behind:
                del one.behind[other]
                one.behind[group] = None

    def _put(self, number: int, kernel: Kernel, group: _Group) -> None:
        group.kernels.append((number, kernel))
        group.numbers += self._numbers(kernel)
        operands = dict.fromkeys(read_by(kernel))
        group.read.update(x for x in operands if x.shape.domain is not None)
        found = (self.made[x] for x in operands if x in self.made)
        group.behind |= dict.fromkeys(g for g in found if g is not group)
        made = [r for r in kernel.results if r is not None]
        self.made |= dict.fromkeys(made, group)
        if kernel.name in _ENDS:
            group.ends.update(made)

    def _rows(self, kernel: Kernel) -> Domain | None:
        """The rows that a kernel computes one by one; None if it does not."""
        if kernel.name in _ENDS:
            found: Domain = kernel.args[_ENDS[kernel.name]].domain
            return found
        row_by_row = kernel.name in _ROW_BY_ROW | _NAMES or kernel.name.startswith(_OF_A_ROW)
        if self._repeats(kernel) and self.multiplied.intersection(kernel.results):
            row_by_row = False
        elif kernel.name in _PRODUCTS:
            row_by_row = kernel.args[_PRODUCTS[kernel.name]] not in self.repeating
        elif kernel.name in OPS and isinstance(OPS[kernel.name].lowering, Pointwise):
            row_by_row = True
        (result, *more) = kernel.results
        if not row_by_row or more or result is None or self._numbers(kernel) > choices.MATRICES_OF_A_BLOCK:
            return None
        return result.shape.domain

    def _numbers(self, kernel: Kernel) -> int:
        """Of the matrices that a kernel multiplies by."""
        if kernel.name == op.LINEAR:
            return prod(self.weights[f"{kernel.args[0].path}.weight"].shape)
        matrices = (a for a in kernel.args if isinstance(a, Matrix))
        return sum(p.width * matrix.width for matrix in matrices for p in matrix.products)

    def _joins(self, kernel: Kernel, group: _Group) -> bool:
        """Whether a kernel reads what a chain gives it row by row, or also reads, and nothing that is known
        only after the chain."""
        operands = [x for x in read_by(kernel) if x.shape.domain is not None]
        given = [x for x in operands if self.made.get(x) is group]
        if kernel.name in _NAMES | _ENDS.keys():
            wanted = bool(given)
        else:
            wanted = bool(given) or not group.read.isdisjoint(operands)
        fits = group.numbers + self._numbers(kernel) <= choices.MATRICES_OF_A_BLOCK
        if not wanted or not fits or not group.ends.isdisjoint(given):
            return False
        others = {self.made[x] for x in operands if x in self.made} - {group}
        return not _is_behind(group, others)

    def _apart(self, group: _Group) -> list[_Group]:
        """A chain of several kernels that compute; else each of its kernels."""
        if group.rows is None or group.working > 1:
            return [group]
        alone = [_Group(None) for _ in group.kernels]
        for (number, kernel), one in zip(group.kernels, alone, strict=True):
            self._put(number, kernel, one)
        return alone

    def _block(self, group: _Group) -> Block:
        kernels = [kernel for _, kernel in group.kernels]
        if group.rows is None:
            return Block(kernels)
        made = [r for k in kernels for r in k.results if r is not None]
        wanted = {*self.results}
        for one in self.kernels:
            if self.made[next(r for r in one.results if r is not None)] is not group:
                wanted.update(read_by(one))
        for kernel in reversed(kernels):  # what is another name of a value
            if kernel.name in _NAMES and kernel.result in wanted:
                wanted.update(x for x in kernel.operands())
        results = [x for x in made if x in wanted and x not in group.ends]
        inner = [k.result for k in kernels if k.name not in _NAMES and k.result not in group.ends]
        numbers = sum(prod(a.size or 1 for a in x.shape.dims) * x.width for x in inner)
        return Block(kernels, group.rows, results, choices.block_rows(numbers))


def _multiplied(kernels: Sequence[Kernel]) -> set[Value | None]:
    """What products multiply, and what is put together to that."""
    found: set[Value | None] = set()
    for kernel in reversed(kernels):
        if kernel.name in _PRODUCTS:
            found.add(kernel.args[_PRODUCTS[kernel.name]])
        elif kernel.name in _NAMES | _BESIDE | {op.ADD} and found.intersection(kernel.results):
            found.update(kernel.operands())
    return found


def _is_behind(group: _Group, others: Iterable[_Group]) -> bool:
    """Whether one of some groups reads, by whichever way, what a group gives."""
    stack, seen = list(others), set[_Group]()
    while stack:
        one = stack.pop()
        if one is group:
            return True
        if one not in seen:
            seen.add(one)
            stack += one.behind
    return False


def _in_order(groups: Sequence[_Group], made: Mapping[Value, _Group]) -> list[_Group]:
    """Groups behind those that they read; of several the one whose last kernel is first."""
    readers: dict[_Group, list[_Group]] = {group: [] for group in groups}
    waits = dict.fromkeys(groups, 0)
    for group in groups:
        operands = {x for _, kernel in group.kernels for x in read_by(kernel)}
        for other in {made[x] for x in operands if x in made} - {group}:
            readers[other].append(group)
            waits[group] += 1
    ready = [(group.kernels[-1][0], n) for n, group in enumerate(groups) if not waits[group]]
    heapify(ready)
    place, found = {group: n for n, group in enumerate(groups)}, []
    while ready:
        found.append(groups[heappop(ready)[1]])
        for reader in readers[found[-1]]:
            waits[reader] -= 1
            if not waits[reader]:
                heappush(ready, (reader.kernels[-1][0], place[reader]))
    assert len(found) == len(groups), "a chain reads what waits for it"
    return found
