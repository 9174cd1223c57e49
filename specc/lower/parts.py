"""Predictions in two parts: what is of the request alone, and what is of its candidates.

Promises: the kernels are those of `values` and `forward`, each in one part; what only losses or attentions
read is in neither. What the parts compute is what `forward` does. The second part writes over nothing that
the first one gave, so that one state does for any number of candidates, any number of times.

A kernel is of the candidates if it reads one of their fields, has a row for each, or reads what is of them.
One that reads no data at all (a free parameter) is in every part that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from specc.ir.graph import Graph
from specc.ir.inputs import predicting
from specc.lower import choices
from specc.lower.program import Field, Function, Kernel, Parts, Position, Record, Rows, Value
from specc.lower.shape import Domain
from specc.ops import Effect, effect, op
from specc.passes.roles import CANDIDATE, axis_role
from specc.types.kinds import chosen


def parts_of(graph: Graph, shared: Function | None, forward: Function) -> Parts:
    """The parts of a program whose buffers are settled."""
    kernels = [*([] if shared is None else shared.kernels), *forward.kernels]
    return _Split(graph, kernels, forward).parts()


class _Split:
    def __init__(self, graph: Graph, kernels: list[Kernel], forward: Function) -> None:
        self.graph = graph
        self.forward = forward
        self.spaces = {space.name: space.role for space in graph.spaces}
        self.fields = {f.path: f.role for space in graph.spaces for f in space.fields}
        kernels = [one for kernel in kernels for one in self._by_role(kernel)]
        self.kernels = _needed(kernels, forward.results)
        self.free: set[Value] = set()
        self.late: set[Value] = set()

    def parts(self) -> Parts:
        early, late = [], []
        for kernel in self.kernels:
            made = {r for r in kernel.results if r is not None}
            if self._is_late(kernel):
                late.append(kernel)
                self.late |= made
            elif self._is_free(kernel):
                early.append(kernel)
                late.append(kernel)
                self.free |= made
            else:
                early.append(kernel)
        late = _needed(late, self.forward.results)
        there = {r for k in late for r in k.results if r is not None}
        asked = [x for k in late for x in read_by(k)] + self.forward.results
        state = [x for x in dict.fromkeys(asked) if x not in there and x.dtype != "number"]
        order = {r: n for n, k in enumerate(early) for r in k.results if r is not None}
        state.sort(key=order.__getitem__)
        request = Function(("request_part",), _needed(early, state), [], state)
        candidate = Function(("candidate_part",), _unspoilt(late, state), state, list(self.forward.results))
        candidate.keys = list(self.forward.keys)
        if _compared(self.graph) or any(self._mixes(kernel) for kernel in candidate.kernels):
            return Parts(request, candidate)
        return Parts(request, candidate, _widths(candidate.kernels), choices.CANDIDATES_IN_PIECES)

    def _mixes(self, kernel: Kernel) -> bool:
        """Whether a kernel gives something of candidates that is not of each of them."""
        domains = [r.shape.domain for r in kernel.results if r in self.late and r is not None]
        return any(domain is None or not self._has_candidates(domain) for domain in domains)

    def _by_role(self, kernel: Kernel) -> list[Kernel]:
        """A kernel by itself; of one that looks up fields of both roles, two."""
        if kernel.name != op.LOOKUP:
            return [kernel]
        roles = [self._of_candidates(arg) for arg in kernel.args]
        found = []
        for role in sorted(set(roles)):
            some = [n for n, own in enumerate(roles) if own == role]
            args, results = (tuple(these[n] for n in some) for these in (kernel.args, kernel.results))
            found.append(replace(kernel, args=args, results=results))
        return found

    def _is_late(self, kernel: Kernel) -> bool:
        return any(x in self.late for x in read_by(kernel)) or self._of_candidates(_everything(kernel))

    def _is_free(self, kernel: Kernel) -> bool:
        reads = all(x in self.free or x.dtype == "number" for x in read_by(kernel))
        return reads and not any(isinstance(x, Field | Rows | Position) for x in _everything(kernel))

    def _of_candidates(self, args: Any) -> bool:
        """Whether some of a kernel's arguments, those within others too, name what is of candidates."""
        if isinstance(args, Field):
            return args.kind == "label" or self.fields[args.path] == CANDIDATE
        if isinstance(args, Rows):
            return self._has_candidates(args.domain)
        if isinstance(args, Position):
            return self._has_candidates(args.rows.domain)
        if isinstance(args, Record):
            return self._of_candidates(args.args)
        return isinstance(args, list | tuple) and any(map(self._of_candidates, args))

    def _has_candidates(self, domain: Domain) -> bool:
        return domain.candidate or any(axis_role(a, self.spaces) == CANDIDATE for a in domain.axes)


def _compared(graph: Graph) -> bool:
    """Whether predictions may depend on the others of a batch when they are not trained."""
    nodes = (n for n in predicting(graph) if effect(n) in (Effect.STATISTICS, Effect.UNKNOWN))
    return any(n.attrs.get("statistics") != "running" for n in nodes)


def _widths(kernels: Sequence[Kernel]) -> dict[Domain, int]:
    """By the rows of the values that kernels give, how many numbers a row of one has at most. A view has no
    memory of its own."""
    found: dict[Domain, int] = {}
    for result in (r for kernel in kernels for r in kernel.results if r is not None):
        domain = result.shape.domain
        if domain is not None and (result.base is None or result.written):
            numbers = prod(axis.size or 1 for axis in result.shape.dims) * result.width
            # What is longer or shorter by what is chosen has no length before; it has a bound.
            unknown = [axis for axis in domain.axes if chosen(axis)]
            numbers *= prod(axis.bound for axis in unknown)
            domain = Domain(domain.axes - {*unknown}, domain.candidate)
            found[domain] = max(numbers, found.get(domain, 0))
    return found


def _everything(kernel: Kernel) -> list[Any]:
    """A kernel's arguments, and those of the kernels in functions that it calls."""
    found = list(kernel.parts())
    for inner in kernel.functions():
        for one in inner.kernels:
            found += _everything(one)
    return found


def read_by(kernel: Kernel) -> Iterator[Value]:
    """The values that a kernel reads, and what functions that it calls read of those around them."""
    yield from kernel.operands()
    for inner in kernel.functions():
        own = {*inner.parameters, *(r for k in inner.kernels for r in k.results if r is not None)}
        read = [x for k in inner.kernels for x in read_by(k)] + inner.results
        yield from (x for x in read if x not in own)


def _needed(kernels: Sequence[Kernel], results: Sequence[Value]) -> list[Kernel]:
    """The kernels that results are computed by, in order. What nobody reads of a lookup is not looked up."""
    wanted, found = set(results), []
    for kernel in reversed(kernels):
        if not wanted.intersection(kernel.results):
            continue
        if kernel.name == op.LOOKUP and not wanted.issuperset(kernel.results):
            some = [n for n, result in enumerate(kernel.results) if result in wanted]
            args, made = (tuple(these[n] for n in some) for these in (kernel.args, kernel.results))
            kernel = replace(kernel, args=args, results=made)
        found.append(kernel)
        wanted.update(read_by(kernel))
    return found[::-1]


def _unspoilt(kernels: list[Kernel], state: Sequence[Value]) -> list[Kernel]:
    """The kernels, with a copy of what would be written over were it the state itself: repeating a value for
    its candidates gives the value itself where each has one."""
    given: set[Value] = {x.buffer for x in state}
    found = []
    written = {k.over.buffer for k in kernels if k.over is not None}
    for kernel in kernels:
        if kernel.name == "expand" and kernel.args[0].buffer in given and kernel.result.buffer in written:
            kernel = replace(kernel, name="expand_anew")
        found.append(kernel)
    return found
