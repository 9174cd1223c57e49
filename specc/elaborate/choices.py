"""Every choice of every param's domain, one at a time, so that all of a spec is checked.

Promises: a choice that the spec's own `require`s rule out is passed over; what only a choice brings to light
is told once, with the choice as the second place. Of a range, both ends are tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from specc.elaborate.blame import is_standard
from specc.elaborate.blocks import module_scope
from specc.elaborate.meaning import world_of
from specc.elaborate.model import look_at
from specc.elaborate.statics import static, symbols_of
from specc.elaborate.world import Fault, Site
from specc.names.program import Program
from specc.report import Label, Report, Severity
from specc.report.suggest import suggestion
from specc.source import Span
from specc.syntax import tree
from specc.types.static import Symbol, describe

# Variants of one spec beyond these are not looked at; their number is told.
_MOST = 200


def check_choices(program: Program, params: Mapping[str, Any], report: Report) -> int:
    """Report what other choices bring to light; how many variants were seen, with that of the defaults.

    report: what has been said of the variant with `params`, to which this adds.
    """
    seen = 1
    told = {(d.code, d.span.source.name, d.span.start) for d in report}
    for item, value, place in _choices(program, params):
        if seen > _MOST:
            break
        found = report.sibling()
        look_at(program, {**params, item.ident.name: value}, found)
        faults = [d for d in found if d.severity is Severity.ERROR]
        if any(_ruled_out(program, d.code, d.span) for d in faults):
            continue
        seen += 1
        for fault in faults:
            key = (fault.code, fault.span.source.name, fault.span.start)
            if key in told or is_standard(fault.span.source):
                continue
            told.add(key)
            choice = f"`{item.ident.name} = {describe(_symbol(value, item))}`"
            if fault.code == "E0201" and isinstance(value, str) and f"`{value}`" in fault.message:
                known = [n for n in symbols_of(item.domain) if n != value]
                help, fix = fault.help, None
                meant = fault.fix.text if fault.fix is not None else ""
                if meant and meant not in known:
                    help, fix = suggestion(value, place, [meant])
                report.add(replace(fault, span=place, label="this choice", help=help, fix=fix,
                                   secondary=(Label(fault.span, "used here"), *fault.secondary)))  # fmt: skip
                told.add((fault.code, place.source.name, place.start))
            else:
                report.add(replace(fault, secondary=(*fault.secondary, Label(place, f"with {choice}"))))
    return seen


def _choices(program: Program, params: Mapping[str, Any]) -> Iterator[tuple[tree.Param, Any, Span]]:
    """Params with another value of their domains, as an override, and its place."""
    world = world_of(program, Report(), params)
    scope = module_scope(world, program.main)
    site = Site(scope, scope.frame, "")
    for name, entry in scope.entries.items():
        item = entry.statement
        if not isinstance(item, tree.Param) or item.domain is None or name in params:
            continue
        symbols = symbols_of(item.domain)
        parts = (
            item.domain.items
            if isinstance(item.domain, tree.Choices)
            else (item.domain.low, item.domain.high)
        )
        try:
            own = scope.value_of(entry, name)
            values = [(static(part, site, symbols), part.span) for part in parts]
        except Fault:
            continue
        for value, place in values:
            if value != own or isinstance(value, bool) != isinstance(own, bool):
                yield item, value.name if isinstance(value, Symbol) else value, place


def _symbol(value: Any, item: tree.Param) -> Any:
    return Symbol(value) if isinstance(value, str) and value in symbols_of(item.domain) else value


def _ruled_out(program: Program, code: str, span: Span) -> bool:
    """Whether a fault only says that this combination is not meant to be."""
    if code in ("E0405", "E0406"):
        return True
    return code == "E0512" and any(r.condition.span == span for r in program.main.requires)
