"""Statements that give a name a value: params, learned values, layers, bindings.

Promises: `elaborate_entry` is called once a name, on first use, and gives what the name stands for:
a static value, a `Node`, a `LayerValue`, or for tables an `Encoding`.
"""

from __future__ import annotations

import math
from typing import Any

from specc.elaborate.blocks import results_of
from specc.elaborate.bodies import static_axis
from specc.elaborate.calls import block_of
from specc.elaborate.encodings import table_encoding
from specc.elaborate.expressions import layer, value
from specc.elaborate.lookup import axis_by_name
from specc.elaborate.makers import made_names
from specc.elaborate.options import values
from specc.elaborate.scans import scan_value
from specc.elaborate.scope import Entry, Scope
from specc.elaborate.spaces import space_value
from specc.elaborate.statics import describe_domain, in_domain, is_static, static, symbols_of
from specc.elaborate.world import Fault, LayerValue, Site
from specc.elaborate.written import walk
from specc.ir.graph import Node, Weight
from specc.names.program import Taken
from specc.ops import op
from specc.report import Label
from specc.syntax import tree
from specc.types.axis import Axis, Type, union
from specc.types.many import Chosen, asked
from specc.types.static import Symbol, describe, is_number, kind_of, whole_between

LARGEST_WIDTH = 10**6


def entry_value(scope: Scope, entry: Entry, name: str) -> Any:
    """Return what a name stands for; elaborated on first use. Raises Fault."""
    if entry.state == "done":
        return entry.value
    if entry.state == "faulty":
        raise Fault
    if entry.state == "busy":
        raise _circle(scope, name, entry)
    entry.state = "busy"
    scope.world.busy.append((name, entry))
    try:
        entry.value = elaborate_entry(scope, entry, name)
    except Fault:
        entry.state = "faulty"
        if isinstance(entry.statement, tree.Binding):
            scope.world.report.lose(made_names(entry.statement, scope))
        raise
    finally:
        scope.world.busy.pop()
    entry.state = "done"
    return entry.value


def _circle(scope: Scope, name: str, entry: Entry) -> Fault:
    """Return the fault of a value that depends on itself, told as the path by which it does."""
    busy = scope.world.busy
    start = next(i for i, (_, other) in enumerate(busy) if other is entry)
    names = [n for n, _ in busy[start:]]
    return scope.world.fault(
        "E0210",
        f"`{name}` is defined by itself",
        entry.span,
        label=f"needs `{names[1]}`" if len(names) > 1 else "its value needs its value",
        secondary=tuple(
            Label(other.span, f"needs `{following}`")
            for (_, other), following in zip(busy[start + 1 :], [*names[2:], name], strict=False)
        ),
        why="each needs the next: " + " -> ".join([*names, name]) if len(names) > 1 else "",
        help="a state that changes from step to step is written with `scan`",
    )


def elaborate_entry(scope: Scope, entry: Entry, name: str) -> Any:
    """Return what a name stands for. Raises Fault once the reason is reported."""
    statement = entry.statement
    site = Site(scope, scope.frame, f"{scope.path}.{name}" if scope.path else name)
    match statement:
        case tree.Param():
            return param_value(scope, statement)
        case tree.Table():
            return table_encoding(entry, statement, site)
        case tree.Space():
            return space_value(scope, statement)
        case tree.Learned():
            return _learned(scope, statement, site)
        case tree.Layer(value=expr):
            return _layer(scope, expr, site)
        case Taken():
            return _taken(scope, statement)
        case tree.Binding(value=expr):
            if is_static(expr, scope):
                return static(expr, site)
            node = scope.world.localize(value(expr, site), scope.frame)
            return scope.world.name(scope.frame, node, name)
        case tree.Scan():
            return scan_value(scope, statement, name)
        case tree.Predict(value=expr) | tree.Output(value=expr) | tree.Loss(value=expr):
            return scope.world.name(scope.frame, value(expr, site), name)
        case _:
            raise Fault  # a block or device: never asked for as a value


# ---------------------------------------------------------------------- params


def param_value(scope: Scope, item: tree.Param) -> Any:
    """Return a param's default, or what it was overridden with; its domain holds either way."""
    world, name = scope.world, item.ident.name
    site = Site(scope, scope.frame, "")
    symbols = symbols_of(item.domain)
    for part in walk(item.default):
        if isinstance(part, tree.Call | tree.Attribute):
            raise world.fault(
                "E0401",
                "a param is made of numbers, words and other params",
                part.span,
                why="params are known before anything else, so that they can be overridden",
                help=f"write it where it is used, or as a binding: `{name} = …`",
            )
    default = static(item.default, site, symbols)
    own = scope.module is world.program.main
    given = world.overrides.get(name) if own and name in world.overrides else None
    if isinstance(given, Chosen):
        result = given.over(default)
    else:
        result = default if given is None else _override(given, default, item, symbols, scope)
    domain = item.domain
    if domain is not None and not asked(lambda value: in_domain(value, domain, site), result):
        raise world.fault(
            "E0406",
            f"`{name}` cannot be {describe(result)}",
            item.ident.span if given is not None else item.default.span,
            label="overridden here" if given is not None else "the default is outside its own domain",
            help=_into_domain(result, item) if given is None else "",
            expected=describe_domain(domain, site),
            found=describe(result),
            secondary=(Label(domain.span, "its domain"),),
        )
    return result


def _into_domain(value: Any, item: tree.Param) -> str:
    """Return what to do about a default that its domain does not have."""
    if isinstance(value, str) and value in symbols_of(item.domain):
        return f"a word of the domain has no quotes: write `{value}`"
    return "add it to the domain, or choose another default"


def _override(given: Any, default: Any, item: tree.Param, symbols: frozenset[str], scope: Scope) -> Any:
    """Return an override as a static value of the kind that the default has."""
    result = _static_of(given, symbols)
    alike = kind_of(result) == kind_of(default) or (is_number(result) and is_number(default))
    worded = isinstance(result, Symbol) and isinstance(default, Symbol)
    if isinstance(default, int) and not isinstance(default, bool) and isinstance(result, float):
        alike = False
    if not (alike or worded):
        raise scope.world.fault(
            "E0405",
            f"`{item.ident.name}` is {kind_of(default)}, and cannot be overridden with {describe(result)}",
            item.span,
            expected=kind_of(default) if not symbols else "one of " + ", ".join(sorted(symbols)),
            found=kind_of(result),
        )
    if isinstance(result, float) and not -math.inf < result < math.inf:
        raise scope.world.fault("E0405", f"`{item.ident.name}` must be a finite number", item.span)
    return result


def _static_of(given: Any, symbols: frozenset[str]) -> Any:
    if isinstance(given, list | tuple):
        return tuple(_static_of(v, symbols) for v in given)
    if isinstance(given, str) and given in symbols:
        return Symbol(given)
    return given


# ------------------------------------------------------------- several results


def _taken(scope: Scope, item: Taken) -> Node:
    """Return one of the results of `x, y = block(…)`. Raises Fault."""
    key = id(item.of)
    if key not in scope.scans:
        scope.scans[key] = ()  # what failed is not tried again for its other names
        scope.scans[key] = tuple(_results(scope, item.of))
    nodes = scope.scans[key]
    if not nodes:
        raise Fault
    return nodes[item.number]


def _results(scope: Scope, item: tree.Unpack) -> list[Node]:
    world, name = scope.world, item.idents[0].name
    site = Site(scope, scope.frame, f"{scope.path}.{name}" if scope.path else name)
    call = item.value
    found = block_of(call, site) if isinstance(call, tree.Call) else None
    if found is None or not isinstance(call, tree.Call):
        site.value(call)  # its own faults first
        raise world.fault(
            "E0519",
            f"this is one value, and {len(item.idents)} names stand for it",
            call.span,
            why="only a block that returns several gives several, where it is called by itself",
            help=f"keep one name: `{name} = …`",
        )
    module, block = found
    if len(block.results) != len(item.idents):
        count = len(block.results)
        given = "one value" if count == 1 else f"{count} values"
        raise world.fault(
            "E0519",
            f"`{block.ident.name}` gives {given}, and {len(item.idents)} names stand for them",
            call.span,
            secondary=(Label(block.result.span, "declared here"),),
            help="write a name for each of its results",
        )
    nodes = [world.localize(node, scope.frame) for node in results_of(module, block, call, site, [])]
    return [world.name(scope.frame, node, ident.name) for node, ident in zip(nodes, item.idents, strict=True)]


# --------------------------------------------------------------------- learned


def _learned(scope: Scope, item: tree.Learned, site: Site) -> Node:
    world = scope.world
    axes = [_learned_axis(scope, axis, site) for axis in item.axes]
    width = static(item.width, site)
    if not isinstance(width, int) or isinstance(width, bool) or not 1 <= width <= LARGEST_WIDTH:
        raise world.fault(
            "E0403",
            f"the width of `{item.ident.name}` must be an integer of at least 1",
            item.width.span,
            found=describe(width),
            help=whole_between(width, 1, LARGEST_WIDTH),
        )
    shape = (*(axis.bound for axis in axes), width)
    init = values(item.init, shape, site) if item.init is not None else ("normal", 0.01)
    weight = Weight(
        site.path, shape, "learned", init, item.ident.span, site.owner, frozen=item.fixed
    )  # fmt: skip
    path = world.weight(weight)
    # A nested axis comes with its parent: the value is looked up by position in each of the parent's.
    type_ = Type(union(Type(tuple(a for axis in axes for a in axis.chain), 1)), width)
    node = world.add(site, op.LEARNED, [], type_, item.span, {"axes": tuple(axes)}, (path,))
    return world.name(scope.frame, node, item.ident.name)


def _learned_axis(scope: Scope, item: tree.LearnedAxis, site: Site) -> Axis:
    name = item.ident.name
    if item.size is None:
        return axis_by_name(name, item.ident.span, site)
    size = static(item.size, site)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= LARGEST_WIDTH:
        raise scope.world.fault(
            "E0403", f"the size of `{name}` must be an integer of at least 1", item.size.span,
            found=describe(size), help=whole_between(size, 1, LARGEST_WIDTH),
        )  # fmt: skip
    ragged = [a for a in scope.axes_named(name) if a.kind == "space"]
    if ragged:
        raise scope.world.fault(
            "E0202",
            f"there is an axis `{name}` already",
            item.ident.span,
            help=f"write `[{name}, …]` to index by its positions, or choose another name",
        )
    return static_axis(site, name, size, item.ident.span)


def _layer(scope: Scope, expr: tree.Expr, site: Site) -> LayerValue:
    """Return a declared layer: one set of weights, named by the declaration."""
    result = layer(expr, site)
    return LayerValue(result.calls, result.text, site.path)
