"""Every choice of every param's domain, one at a time, so that all of a spec is checked.

Promises: a choice that the spec's own `require`s rule out is passed over; what only a choice brings to light
is told once, with the choice as the second place. Of a range, both ends are tried. Choices of numbers are
looked at together, for as long as they take the same course (specc/types/many.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from specc.elaborate.blame import is_standard
from specc.elaborate.blocks import module_scope
from specc.elaborate.meaning import world_of
from specc.elaborate.model import look_at, rules_out
from specc.elaborate.statics import static, symbols_of
from specc.elaborate.world import Fault, Site
from specc.frozen import dataclass
from specc.names.program import Program
from specc.report import Diagnostic, Label, Report, Severity
from specc.report.suggest import suggestion
from specc.source import Span
from specc.syntax import tree
from specc.types.many import Chosen, Variants
from specc.types.static import Symbol, describe, is_number

# Variants of one spec beyond these are not looked at; their number is told.
_MOST = 200


def check_choices(program: Program, params: Mapping[str, Any], report: Report) -> int:
    """Report what other choices bring to light; how many variants were seen, with that of the defaults.

    report: what has been said of the variant with `params`, to which this adds.
    """
    told = {(d.code, d.span.source.name, d.span.start) for d in report}
    seen = 1
    waiting = list(_choices(program, params))[:_MOST]
    while waiting:
        choice = waiting[0]
        found, alike = _look_at(program, params, waiting, report.sibling())
        waiting = [other for other in waiting if other not in alike]
        faults = [d for d in found if d.severity is Severity.ERROR]
        if any(rules_out(program, fault) for fault in faults):
            continue
        seen += len(alike)
        for fault in faults:
            key = (fault.code, fault.span.source.name, fault.span.start)
            if key not in told and not is_standard(fault.span.source):
                told |= {key, _tell(fault, choice, report)}
    return seen


def _look_at(
    program: Program, params: Mapping[str, Any], choices: list[_Choice], found: Report
) -> tuple[Report, list[_Choice]]:
    """Return what is said of the first of some choices, and those that it is said of: others of numbers,
    too, for as long as they take its course."""
    first = choices[0]
    alike = [c for c in choices if c is first or (c.is_number and first.is_number)]
    together = Variants(len(alike))
    values: dict[str, dict[int, Any]] = {}
    for index, choice in enumerate(alike):
        values.setdefault(choice.item.ident.name, {})[index] = choice.value
    one = {first.item.ident.name: first.value}
    many = {name: Chosen(together, own) for name, own in values.items()}
    look_at(program, {**params, **(one if len(alike) == 1 else many)}, found)
    return found, [c for index, c in enumerate(alike) if index not in together.apart]


def _tell(fault: Diagnostic, choice: _Choice, report: Report) -> tuple[str, str, int]:
    """Report a fault that a choice brings to light; by what it is known."""
    item, value, place = choice.item, choice.value, choice.place
    if fault.code == "E0201" and isinstance(value, str) and f"`{value}`" in fault.message:
        known = [n for n in symbols_of(item.domain) if n != value]
        help, fix = fault.help, None
        meant = fault.fix.text if fault.fix is not None else ""
        if meant and meant not in known:
            help, fix = suggestion(value, place, [meant])
        second = (Label(fault.span, "used here"), *fault.secondary)
        report.add(replace(fault, span=place, label="this choice", help=help, fix=fix, secondary=second))
        return (fault.code, place.source.name, place.start)
    said = f"with `{item.ident.name} = {describe(_symbol(value, item))}`"
    report.add(replace(fault, secondary=(*fault.secondary, Label(place, said))))
    return (fault.code, fault.span.source.name, fault.span.start)


@dataclass(frozen=True, eq=False)
class _Choice:
    """Another value of a param's domain, as an override, and its place."""

    item: tree.Param
    value: Any
    place: Span
    is_number: bool  # and so is what it is instead of


def _choices(program: Program, params: Mapping[str, Any]) -> Iterator[_Choice]:
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
                numbers = is_number(value) and is_number(own)
                yield _Choice(item, value.name if isinstance(value, Symbol) else value, place, numbers)


def _symbol(value: Any, item: tree.Param) -> Any:
    return Symbol(value) if isinstance(value, str) and value in symbols_of(item.domain) else value
