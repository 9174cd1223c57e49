"""From a spec to the space of its variants.

Promises: faults of params, domains and conditions are reported as the elaborator would; what leaves no
variant gives E0408, with the condition to blame and the domains it was asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from specc.driver import load_program, located, read
from specc.elaborate.blocks import module_scope, require
from specc.elaborate.declarations import param_value
from specc.elaborate.meaning import world_of
from specc.elaborate.spaces import declare_axes
from specc.elaborate.statics import describe_domain
from specc.elaborate.world import Fault, Site
from specc.names.program import Program
from specc.report import Label, Report
from specc.source import Source
from specc.syntax import tree
from specc.types.static import StaticValue, describe
from specc.variants.space import PATIENCE, Unknown, VariantSpace


def load_space(
    path: Path | str, fixed: Mapping[str, Any] | None = None
) -> tuple[VariantSpace | None, Report]:
    """Return the variants of a spec file, or None with the reasons in the report."""
    report = Report()
    source = read(path, report)
    if source is None:
        return None, report
    return space_of(source, located(path).parent, fixed or {}, report), report


def space_of(
    source: Source, directory: Path | None, fixed: Mapping[str, Any], report: Report
) -> VariantSpace | None:
    """Return the variants of a spec's text."""
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
    """Return every param's value without further overrides; their own faults are reported."""
    found: dict[str, StaticValue] = {}
    for name, item in program.main.named.items():
        if isinstance(item, tree.Param):
            world = world_of(program, report, fixed)
            scope = module_scope(world, program.main)
            declare_axes(scope)
            try:
                found[name] = param_value(scope, item)
            except Fault:
                continue
    unknown = [name for name in fixed if name not in program.main.named]
    if unknown:
        from specc.elaborate.model import elaborate

        elaborate(program, fixed, report)  # says which params there are
    return None if report.has_errors else found


def _params_read(node: Any, program: Program, among: set[str]) -> frozenset[str]:
    """Return the params that an expression reads, through bindings, other params and spaces too."""
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
    """Order params as declared, but each after those its domain reads."""
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
    """Report E0408 where no choice of the params keeps all conditions; E0512 where the defaults do not."""
    for part in space.parts:
        try:
            left = next(space.completions(part, {}, 3, patience=PATIENCE), None) is not None
        except Unknown:
            left = True
        if not left:
            _report_nothing(space, part, report)
    world = world_of(space.program, report, space.fixed)
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
    world = world_of(space.program, Report(), space.fixed)
    scope = module_scope(world, space.program.main)
    site = Site(scope, scope.frame, "")
    own = [(item, needs) for item, needs in space.conditions if needs and needs <= set(part)]
    alone = [
        (item, needs)
        for item, needs in own
        if not any(
            space.true(item.condition, {n: chosen[n] for n in needs})
            for chosen in _unconditional(space, part)
        )
    ]
    blamed = (alone or own)[:1]
    if not blamed:
        name = part[0]
        report.error("E0408", f"the domain of `{name}` holds nothing", space.param(name).span)
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
        "E0408",
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
    """Yield choices of a part without any condition, as many as there is patience for."""
    bare = VariantSpace(space.program, space.fixed, space.defaults, space.order, space.reads, ())
    try:
        yield from bare.completions(part, {}, 3, patience=PATIENCE)
    except Unknown:
        return
