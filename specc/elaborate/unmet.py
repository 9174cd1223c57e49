"""What no elaboration met: blocks that nothing calls, branches that were not taken, layers never applied.

Promises: names and forms in them are checked all the same. A branch is looked at where it stands, and told
only of what no choice of the params could make right; a block is tried with made-up inputs of several widths,
and told only of what every one of them gives. Leaves the graph and its weights as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from specc.elaborate.arguments import declared_width
from specc.elaborate.blame import is_standard
from specc.elaborate.blocks import module_scope, results_of
from specc.elaborate.scope import Scope
from specc.elaborate.statics import static
from specc.elaborate.world import Fault, Frame, LayerValue, Site, World
from specc.ir.graph import Node
from specc.ops import op
from specc.report import Diagnostic, Report, Severity
from specc.syntax import tree
from specc.types.axis import Axis, Type

# Faults of a branch that stay faults whatever the params are.
_ALWAYS = frozenset(
    ["E0201", "E0202", "E0211", "E0305", "E0313", "E0314", "E0401", "E0402", "E0404", "E0407", "E0519"]
)
_WIDTHS = ((24, 24, 24, 24), (24, 48, 12, 96), (1, 1, 1, 1))
# A signature does not say of what kind its axes are: each inside of the one before, side by side, or static.
_KINDS = ("nested", "apart", "static")
_SIZE = 4
_BOUND = 24


def check_unmet(scope: Scope) -> None:
    """Report the faults of what was never elaborated. Call it once the graph's nodes are taken."""
    world = scope.world
    for entry in list(scope.entries.values()):
        statement = entry.statement
        if is_standard(entry.span.source):
            continue
        if isinstance(statement, tree.Block) and id(statement) not in world.met:
            _told_always(world, (_tried(scope, statement, *how) for how in product(_WIDTHS, _KINDS)))
        elif isinstance(entry.value, LayerValue) and entry.value.path not in world.applied:
            _told_always(world, (_applied(scope, entry.value, sequence) for sequence in (True, False)))
    _branches(world)


def _branches(world: World) -> None:
    seen: set[int] = set()
    while True:
        waiting = [a for key, a in world.aside.items() if key not in seen and key not in world.taken]
        if not waiting:
            return
        for aside in waiting:
            seen.add(id(aside.branch))
            if is_standard(aside.branch.span.source):
                continue
            with _aside(world) as report, contextlib.suppress(Fault):
                if aside.static:
                    static(aside.branch, aside.site, aside.symbols)
                else:
                    aside.site.value(aside.branch)
            for diagnostic in report:
                if diagnostic.code in _ALWAYS:
                    world.report.add(diagnostic)


@contextlib.contextmanager
def _aside(world: World) -> Iterator[Report]:
    """Yield a report of its own: what is reported within stays there."""
    report, own = world.report.sibling(), world.report
    calls, sites, refused = world.calls, world.call_sites, world.refused
    world.report, world.calls, world.call_sites, world.refused = report, [*calls], [*sites], {*refused}
    try:
        yield report
    finally:
        world.report, world.calls, world.call_sites, world.refused = own, calls, sites, refused


def _told_always(world: World, tries: Iterable[Report]) -> None:
    """Report what all tries have in common; one that a `require` ended says nothing."""
    common: dict[Any, Diagnostic] | None = None
    for report in tries:
        if any(d.code == "E0512" for d in report):
            continue
        found = {(d.code, d.span.start, d.span.stop): d for d in report if d.severity is Severity.ERROR}
        common = found if common is None else {key: d for key, d in common.items() if key in found}
        if not common:
            return
    for diagnostic in (common or {}).values():
        if not is_standard(diagnostic.span.source):
            world.report.add(diagnostic)


def _tried(scope: Scope, block: tree.Block, widths: tuple[int, ...], kind: str) -> Report:
    """Return what is said of a block that is called with made-up inputs of these widths, axes of a kind."""
    world = scope.world
    frame = Frame()
    inner = Scope(world, scope.module, block.ident.name, frame, module_scope(world, scope.module))
    site = Site(inner, frame, block.ident.name)
    with _aside(world) as report, contextlib.suppress(Fault):
        arguments = _inputs(block, inner, site, widths, kind) + _statics(block, inner)
        call = tree.Call(tree.Ref(block.ident.name, span=block.ident.span), tuple(arguments), span=block.span)
        results_of(scope.module, block, call, site, [])
    return report


def _inputs(
    block: tree.Block, scope: Scope, site: Site, widths: tuple[int, ...], kind: str
) -> list[tree.Argument]:
    """Return arguments that name made-up values of the types that a block declares."""
    axes: dict[str, Axis] = {}
    variables: dict[str, int] = {}
    given: list[tree.Argument] = []
    for item in block.inputs:
        parent: Axis | None = None
        for ident in item.type.axes:
            if kind == "static":
                key = ("static", ident.name, _SIZE, block.ident.name)
                axes.setdefault(ident.name, Axis(key, ident.name, _SIZE, _SIZE))
                continue
            made = Axis(("space", block.ident.name, ident.name), ident.name, _BOUND, None, parent)
            axis = axes.setdefault(ident.name, made)
            parent = axis if kind == "nested" else None
        width = item.type.width
        if isinstance(width, tree.Ref) and width.name not in variables and not _is_param(width.name, scope):
            variables[width.name] = widths[len(variables) % len(widths)]
            scope.bind(width.name, variables[width.name], item.span)
        size = declared_width(width, site)
        type_ = Type(tuple(axes[ident.name] for ident in item.type.axes), size)
        name = f" {item.ident.name}"  # no name of a spec
        scope.bind(name, _node(scope.world, site, type_, item), item.span)
        given.append(tree.Keyword(item.ident, tree.Ref(name, span=item.span), span=item.span))
    for name in variables:
        del scope.entries[name]
    return given


def _is_param(name: str, scope: Scope) -> bool:
    """Return whether a name in a signature is a param; any other name stands for any width there."""
    found = scope.find(name)
    return found is not None and isinstance(found[1].statement, tree.Param)


def _node(world: World, site: Site, type_: Type, item: tree.Node) -> Node:
    return world.put(site.frame, op.INPUT, [], type_, item.span, {"field": ""})


def _statics(block: tree.Block, scope: Scope) -> list[tree.Argument]:
    """Return a value for each static that has no default: the first of its domain, or else
    a small number."""
    given: list[tree.Argument] = []
    for item in block.statics:
        if item.default is not None:
            continue
        meant: tree.Expr = tree.Number(2, "2", span=item.span)
        match item.domain:
            case tree.Choices(items=(first, *_)):
                meant = first
            case tree.Range(low=low):
                meant = low
        given.append(tree.Keyword(item.ident, meant, span=item.span))
    return given


def _applied(scope: Scope, layer: LayerValue, sequence: bool) -> Report:
    """Return what is said of a declared layer that is applied to a made-up value."""
    world = scope.world
    frame = Frame()
    inner = Scope(world, scope.module, "", frame, scope)
    site = Site(inner, frame, "")
    axis = Axis(("space", "", "t"), "t", _BOUND, None, None)
    with _aside(world) as report, contextlib.suppress(Fault):
        span = layer.calls[0][0].span
        node = world.put(frame, op.INPUT, [], Type((axis,) if sequence else (), 24), span, {"field": ""})
        site.apply(LayerValue(layer.calls, layer.text), [(node, span)], span)
    return report
