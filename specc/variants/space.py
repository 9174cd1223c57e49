"""What the params of a spec may be: their domains, and the conditions between them.

Promises: a domain may name other params, and so may a `require` (through static bindings too); each is asked
only once the params it reads are known, and its answer is remembered. A condition that has no value for some
choice (a division by zero) does not hold there. A domain or condition that leaves nothing gives E0407.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from functools import cached_property
from pathlib import Path
from typing import Any

from specc.driver import load_program, read
from specc.graph.blocks import module_scope, require
from specc.graph.builtins import registry
from specc.graph.declarations import param_value
from specc.graph.spaces import declare_axes
from specc.graph.statics import describe_domain, domain_values, truth
from specc.graph.world import Fault, Scope, Site, World
from specc.names.program import Program
from specc.report import Label, Report
from specc.source import Source
from specc.syntax import tree
from specc.types.static import StaticValue, Symbol, describe

assert registry.BUILTINS  # conditions may read widths, and so values

# A search that asks more often than this gives up: the answer is then a bound, or nothing.
PATIENCE = 20_000


@dataclass(frozen=True)
class Interval:
    """`lo .. hi` with an end that is not an integer: every number between.

    A range of some powers of ten, such as `1e-5 .. 1e-1`, is looked at by its logarithm.
    """

    low: float
    high: float

    @property
    def logarithmic(self) -> bool:
        return self.low > 0 and self.high / self.low >= 100

    def points(self, count: int) -> tuple[float, ...]:
        """That many numbers, both ends among them, evenly apart (for one: the middle)."""
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
        """By param the text after `--set NAME=`."""
        return {
            name: describe(value)
            for name, value in self.values.items()
            if not changes_only or name in self.changed
        }


def plain(value: StaticValue) -> Any:
    """A static value as JSON has it."""
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
        """What a param may be, once the params that its domain reads are given."""
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
        """The choices, with an interval as that many points."""
        found = self.choices(name, given)
        return found.points(points) if isinstance(found, Interval) else found

    def holds(self, given: Mapping[str, StaticValue], last: str | None = None) -> bool:
        """Whether no condition whose params are all given is broken.

        last: ask only those that read this param, the others having been asked before.
        """
        for index, (item, needs) in enumerate(self.conditions):
            if (last is None or last in needs) and needs <= given.keys():
                key = (index, *(given[n] for n in self.order if n in needs))
                if key not in self._answers:
                    self._answers[key] = self._true(item.condition, {n: given[n] for n in needs})
                if not self._answers[key]:
                    return False
        return True

    def _true(self, condition: tree.Expr, given: Mapping[str, StaticValue]) -> bool:
        scope = self.scope(given)
        try:
            return truth(condition, Site(scope, scope.frame, ""))
        except Fault:
            return False

    def scope(self, given: Mapping[str, StaticValue]) -> Scope:
        """The names of the spec with these params given."""
        world = World(self.program, Report(), overrides={**self.fixed, **given})
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
        """Whether nothing ties a part's param to a condition or another param."""
        return len(part) == 1 and not any(part[0] in needs for _, needs in self.conditions)

    def completions(
        self,
        names: Sequence[str],
        given: Mapping[str, StaticValue],
        points: int,
        shuffle: random.Random | None = None,
        patience: int | None = None,
    ) -> Iterator[dict[str, StaticValue]]:
        """Every way to choose `names` (in order) that keeps the conditions, beside what is given.

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
        """Whether the rest of the params can be chosen too; None if that took too long to find out."""
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
        """Whether given values whose domains can be asked already are in them."""
        return all(
            value in self.grid(name, given, points)
            for name, value in given.items()
            if self.reads[name] <= given.keys() and not isinstance(self.choices(name, given), Interval)
        )

    def variant(self, values: Mapping[str, StaticValue]) -> Variant:
        """A full choice as a variant, in the order of the declarations."""
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


# --------------------------------------------------------------------- loading


def load_space(
    path: Path | str, fixed: Mapping[str, Any] | None = None
) -> tuple[VariantSpace | None, Report]:
    """The variants of a spec file, or None with the reasons in the report."""
    report = Report()
    source = read(path, report)
    if source is None:
        return None, report
    return space_of(source, Path(path).parent, fixed or {}, report), report


def space_of(
    source: Source, directory: Path | None, fixed: Mapping[str, Any], report: Report
) -> VariantSpace | None:
    """The variants of a spec's text."""
    program = load_program(source, directory, report)
    if program is None or report.has_errors:
        return None
    if program.main.kind != "model":
        report.error(
            "E0207",
            f"`{program.main.name}` is a library, and only a model has variants",
            program.main.ident.span,
        )
        return None
    defaults = _defaults(program, fixed, report)
    if defaults is None:
        return None
    named = program.main.named
    params = [n for n, p in named.items() if isinstance(p, tree.Param) and (p.domain or n in fixed)]
    reads = {n: _params_read(named[n].domain, program, set(params)) for n in params}  # type: ignore[union-attr]
    reads = {n: frozenset() if n in fixed else needs - {n} for n, needs in reads.items()}
    conditions = tuple(
        (item, _params_read(item.condition, program, set(params))) for item in program.main.requires
    )
    space = VariantSpace(program, fixed, defaults, _ordered(params, reads), reads, conditions)
    return space if _something_left(space, report) else None


def _defaults(program: Program, fixed: Mapping[str, Any], report: Report) -> dict[str, StaticValue] | None:
    """Every param's value without further overrides; their own faults are reported."""
    found: dict[str, StaticValue] = {}
    for name, item in program.main.named.items():
        if isinstance(item, tree.Param):
            world = World(program, report, overrides=dict(fixed))
            scope = module_scope(world, program.main)
            declare_axes(scope)
            try:
                found[name] = param_value(scope, item)
            except Fault:
                continue
    unknown = [name for name in fixed if name not in program.main.named]
    if unknown:
        from specc.graph.elaborate import elaborate

        elaborate(program, fixed, report)  # says which params there are
    return None if report.has_errors else found


def _params_read(node: Any, program: Program, among: set[str]) -> frozenset[str]:
    """The params that an expression reads, through bindings, other params and spaces too."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [node]
    while waiting:
        for name in _names(waiting.pop()):
            if name not in seen:
                seen.add(name)
                if name in among:
                    found.add(name)
                elif name in program.main.named:
                    waiting.append(program.main.named[name])
    return frozenset(found)


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, tree.Ref):
        yield node.name
    elif isinstance(node, tuple):
        for item in node:
            yield from _names(item)
    elif isinstance(node, tree.Node):
        for part in dataclass_fields(node):
            if part.name != "span":
                yield from _names(getattr(node, part.name))


def _ordered(params: Sequence[str], reads: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """As declared, but a param after those its domain reads."""
    placed: list[str] = []

    def place(name: str, chain: tuple[str, ...]) -> None:
        if name in placed or name in chain:
            return
        for other in params:
            if other in reads[name]:
                place(other, (*chain, name))
        placed.append(name)

    for name in params:
        place(name, ())
    return tuple(placed)


def _something_left(space: VariantSpace, report: Report) -> bool:
    """E0407 where no choice of the params keeps all conditions; E0512 where the defaults do not."""
    for part in space.parts:
        try:
            left = next(space.completions(part, {}, 3, patience=PATIENCE), None) is not None
        except Unknown:
            left = True
        if not left:
            _report_nothing(space, part, report)
    world = World(space.program, report, overrides=dict(space.fixed))
    scope = module_scope(world, space.program.main)
    declare_axes(scope)
    if not report.has_errors:
        for item in space.program.main.requires:
            try:
                require(item, Site(scope, scope.frame, ""))
            except Fault:
                continue
    return not report.has_errors


def _report_nothing(space: VariantSpace, part: Sequence[str], report: Report) -> None:
    """Blame the one condition that no choice can keep, else all that tie the part together."""
    world = World(space.program, Report(), overrides=dict(space.fixed))
    scope = module_scope(world, space.program.main)
    site = Site(scope, scope.frame, "")
    own = [(item, needs) for item, needs in space.conditions if needs and needs <= set(part)]
    alone = [
        (item, needs)
        for item, needs in own
        if not any(
            space._true(item.condition, {n: chosen[n] for n in needs})
            for chosen in _unconditional(space, part)
        )
    ]
    blamed = (alone or own)[:1]
    if not blamed:
        name = part[0]
        report.error("E0407", f"the domain of `{name}` holds nothing", space.param(name).span)
        return
    others = [item for item, _ in own if item is not blamed[0][0]] if not alone else []
    names = [n for n in part if n in blamed[0][1] or others]
    listed = []
    for name in names:
        domain = space.param(name).domain
        set_to = name in space.fixed or domain is None
        listed.append(
            f"{name} = {describe(space.defaults[name])}"
            if set_to or domain is None
            else f"{name} in {describe_domain(domain, site)}"
        )
    report.error(
        "E0407",
        "no variant is left: no choice of params keeps "
        + ("this condition" if not others else "these conditions together"),
        blamed[0][0].condition.span,
        label="never holds" if not others else "never holds together with the others",
        found=", ".join(listed),
        secondary=tuple(Label(item.condition.span, "and this") for item in others),
        why="the domains of the params and every `require` together say which variants there are",
        help="widen a domain, or weaken the condition",
    )


def _unconditional(space: VariantSpace, part: Sequence[str]) -> Iterator[dict[str, StaticValue]]:
    """Choices of a part without any condition, as many as there is patience for."""
    bare = VariantSpace(space.program, space.fixed, space.defaults, space.order, space.reads, ())
    try:
        yield from bare.completions(part, {}, 3, patience=PATIENCE)
    except Unknown:
        return
