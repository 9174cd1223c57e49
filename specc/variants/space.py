"""What the params of a spec may be: their domains, and the conditions between them.

Promises: a domain may name other params, and so may a `require` (through static bindings too); each is asked
only once the params it reads are known, and its answer is remembered. A condition that has no value for some
choice (a division by zero) does not hold there.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from specc.elaborate.blocks import module_scope
from specc.elaborate.meaning import world_of
from specc.elaborate.scope import Scope
from specc.elaborate.spaces import declare_axes
from specc.elaborate.statics import domain_values, truth
from specc.elaborate.world import Fault, Site
from specc.names.program import Program
from specc.report import Report
from specc.syntax import tree
from specc.types.static import StaticValue, Symbol, describe

# A search that asks more often than this gives up: the answer is then a bound, or nothing.
PATIENCE = 20_000


@dataclass(frozen=True)
class Interval:
    """`lo .. hi` with an end that is not an integer: every number between.

    A range over a power of ten or more, such as `1e-3 .. 3e-2`, is looked at by its logarithm: drawn evenly,
    nine of ten numbers would be above its first tenth.
    """

    low: float
    high: float

    @property
    def logarithmic(self) -> bool:
        return self.low > 0 and self.high / self.low >= 10

    def points(self, count: int) -> tuple[float, ...]:
        """Return that many numbers, both ends among them, evenly apart (for one: the middle)."""
        if self.low == self.high:
            return (self.low,)
        steps = [0.5] if count == 1 else [i / (count - 1) for i in range(count)]
        return tuple(dict.fromkeys(self._at(step) for step in steps))

    def draw(self, generator: random.Random) -> float:
        return self._at(generator.random())

    def _at(self, share: float) -> float:
        if share in (0, 1):
            return self.high if share else self.low
        if self.logarithmic:
            found = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            found = self.low + share * (self.high - self.low)
        # Four digits are what a person would write; the ends are kept as they are.
        return min(max(float(f"{found:.4g}"), self.low), self.high)


Choices = Sequence[StaticValue] | Interval


@dataclass(frozen=True)
class Variant:
    """One choice for every param that has a domain (or was set), and which of them are not the default."""

    values: Mapping[str, StaticValue]
    changed: frozenset[str]

    @property
    def params(self) -> dict[str, Any]:
        """As `specc.compile` and JSON take them."""
        return {name: plain(value) for name, value in self.values.items()}

    def settings(self, changes_only: bool = False) -> dict[str, str]:
        """Return by param the text after `--set NAME=`."""
        return {
            name: describe(value)
            for name, value in self.values.items()
            if not changes_only or name in self.changed
        }


def plain(value: StaticValue) -> Any:
    """Return a static value as JSON has it."""
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    return value.name if isinstance(value, Symbol) else value


@dataclass
class VariantSpace:
    """The params that vary, in an order in which a domain comes after the params it reads.

    fixed: params that were set, by name. They have one choice.
    """

    program: Program
    fixed: Mapping[str, Any]
    defaults: Mapping[str, StaticValue]
    order: tuple[str, ...]
    reads: Mapping[str, frozenset[str]]  # by param: the varying params its domain reads
    conditions: tuple[tuple[tree.Require, frozenset[str]], ...]  # with the varying params each reads
    _answers: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    def param(self, name: str) -> tree.Param:
        item = self.program.main.named[name]
        assert isinstance(item, tree.Param)
        return item

    def choices(self, name: str, given: Mapping[str, StaticValue]) -> Choices:
        """Return what a param may be, once the params that its domain reads are given."""
        if name in self.fixed:
            return (self.defaults[name],)
        domain = self.param(name).domain
        assert domain is not None
        needs = self.reads[name]
        key = (name, *(given[n] for n in self.order if n in needs))
        if key not in self._answers:
            self._answers[key] = self._choices(domain, {n: given[n] for n in needs})
        found: Choices = self._answers[key]
        return found

    def _choices(self, domain: tree.Domain, given: Mapping[str, StaticValue]) -> Choices:
        scope = self.scope(given)
        try:
            values = domain_values(domain, Site(scope, scope.frame, ""))
        except Fault:
            return ()
        if isinstance(domain, tree.Choices):
            return tuple(dict.fromkeys(values))
        low, high = values
        if isinstance(low, int) and isinstance(high, int):
            return range(low, high + 1)
        return Interval(float(low), float(high))

    def grid(self, name: str, given: Mapping[str, StaticValue], points: int) -> Sequence[StaticValue]:
        """Return the choices, with an interval as that many points."""
        found = self.choices(name, given)
        return found.points(points) if isinstance(found, Interval) else found

    def holds(self, given: Mapping[str, StaticValue], last: str | None = None) -> bool:
        """Return whether no condition whose params are all given is broken.

        last: ask only those that read this param, the others having been asked before.
        """
        for index, (item, needs) in enumerate(self.conditions):
            if (last is None or last in needs) and needs <= given.keys():
                key = (index, *(given[n] for n in self.order if n in needs))
                if key not in self._answers:
                    self._answers[key] = self.true(item.condition, {n: given[n] for n in needs})
                if not self._answers[key]:
                    return False
        return True

    def true(self, condition: tree.Expr, given: Mapping[str, StaticValue]) -> bool:
        """Return whether a condition holds when the params it reads are these."""
        scope = self.scope(given)
        try:
            return truth(condition, Site(scope, scope.frame, ""))
        except Fault:
            return False

    def scope(self, given: Mapping[str, StaticValue]) -> Scope:
        """Return the names of the spec with these params given."""
        world = world_of(self.program, Report(), {**self.fixed, **given})
        scope = module_scope(world, self.program.main)
        declare_axes(scope)
        return scope

    @cached_property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """The params, those together that a condition or a domain ties together."""
        import networkx as nx

        ties: nx.Graph[str] = nx.Graph()
        ties.add_nodes_from(self.order)
        for name, needs in self.reads.items():
            ties.add_edges_from((name, other) for other in needs)
        for _, needs in self.conditions:
            nx.add_path(ties, [n for n in self.order if n in needs])
        found = [tuple(n for n in self.order if n in part) for part in nx.connected_components(ties)]
        return tuple(sorted(found, key=lambda part: self.order.index(part[0])))

    def free(self, part: Sequence[str]) -> bool:
        """Return whether nothing ties a part's param to a condition or another param."""
        return len(part) == 1 and not any(part[0] in needs for _, needs in self.conditions)

    def completions(
        self,
        names: Sequence[str],
        given: Mapping[str, StaticValue],
        points: int,
        shuffle: random.Random | None = None,
        patience: int | None = None,
    ) -> Iterator[dict[str, StaticValue]]:
        """Yield every way to choose `names` (in order) that keeps the conditions, beside what is given.

        Raises Unknown after asking about `patience` choices.
        """
        asked = 0

        def step(index: int, so_far: dict[str, StaticValue]) -> Iterator[dict[str, StaticValue]]:
            nonlocal asked
            if index == len(names):
                yield dict(so_far)
                return
            name = names[index]
            values = (so_far[name],) if name in so_far else self.grid(name, so_far, points)
            if shuffle is not None:
                values = shuffle.sample(values, min(len(values), 64))
            for value in values:
                asked += 1
                if patience is not None and asked > patience:
                    raise Unknown
                extended = {**so_far, name: value}
                if self.holds(extended, name):
                    yield from step(index + 1, extended)

        return step(0, dict(given))

    def feasible(self, given: Mapping[str, StaticValue], points: int) -> bool | None:
        """Return whether the rest of the params can be chosen too; None if that took too long to find out."""
        try:
            for part in self.parts:
                if any(name in given for name in part):
                    own = {name: given[name] for name in part if name in given}
                    if not self._allowed(own, points):
                        return False
                    if next(self.completions(part, own, points, patience=PATIENCE), None) is None:
                        return False
        except Unknown:
            return None
        return True

    def _allowed(self, given: Mapping[str, StaticValue], points: int) -> bool:
        """Return whether given values whose domains can be asked already are in them."""
        return all(
            value in self.grid(name, given, points)
            for name, value in given.items()
            if self.reads[name] <= given.keys() and not isinstance(self.choices(name, given), Interval)
        )

    def variant(self, values: Mapping[str, StaticValue]) -> Variant:
        """Return a full choice as a variant, in the order of the declarations."""
        declared = [n for n in self.program.main.named if n in values]
        fixed = {n: self.defaults[n] for n in self.fixed if n not in values}
        listed = {n: values[n] for n in declared}
        changed = {n for n, v in listed.items() if v != self.defaults[n]}
        return Variant({**fixed, **listed}, frozenset(changed | set(self.fixed)))

    @property
    def default(self) -> Variant:
        return self.variant({name: self.defaults[name] for name in self.order})


class Unknown(Exception):
    """The search took too long."""
