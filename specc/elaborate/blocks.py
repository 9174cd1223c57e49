"""Calls of blocks: every call an instance of its own, the body inlined.

Promises: the path of an instance's scope heads the names of its weights and axes; what the body makes is
checked against the declared type. Leaves the binding of arguments to `arguments`, what a block promises to
`contracts`, scans to `scans`, single statements to `declarations`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from specc.elaborate.arguments import bind_arguments, bind_statics, bind_types, check_widths
from specc.elaborate.blame import CallSite, is_standard
from specc.elaborate.builtins.signature import BUILTINS
from specc.elaborate.contracts import check_results, declared_twice, record_attention
from specc.elaborate.results import bind_results, name_axes
from specc.elaborate.scope import Entry, Scope
from specc.elaborate.statics import truth
from specc.elaborate.world import Fault, Given, Site, World, all_of
from specc.ir.graph import Node
from specc.names.program import Module, taken
from specc.report import Label
from specc.syntax import tree
from specc.types.static import describe


def call_block(
    module: Module, block: tree.Block, expr: tree.Call, site: Site, first: list[Given] | None
) -> Node:
    """Return the value of one instance of a block. Raises Fault.

    first: what is piped in; None where that is faulty.
    """
    count = len(block.results)
    if count > 1:
        names = ", ".join("abcdefgh"[:count] if count <= 8 else ["a", "b", "…"])
        raise site.world.fault(
            "E0519",
            f"`{block.ident.name}` gives {count} values, and one is needed here",
            expr.span,
            secondary=(Label(block.ident.span, "declared here"),),
            why="it is called by itself: not piped into, and in no `layer`, `repeat`, `fan` or `residual`",
            help=f"name what it gives: `{names} = {block.ident.name}(…)`",
        )
    return results_of(module, block, expr, site, first)[0]


def results_of(
    module: Module, block: tree.Block, expr: tree.Call, site: Site, first: list[Given] | None
) -> list[Node]:
    """Return the values that one instance of a block gives. Raises Fault.

    first: what is piped in; None where that is faulty.
    """
    world = site.world
    name = block.ident.name
    if any(other is block for other in world.calls):
        path = " -> ".join([*(b.ident.name for b in world.calls), name])
        raise world.fault(
            "E0502",
            f"`{name}` calls itself",
            expr.callee.span,
            why=f"every call is written out in place, so this would never end: {path}",
            help=f"inside of it `{name}` is the block itself, not the built-in: give it another name"
            if name in BUILTINS
            else "repeat a layer with `repeat(n, layer)`; walk a sequence with `scan`",
        )
    if declared_twice(block):
        raise Fault  # reported where the block is declared
    inputs, statics, clauses = bind_arguments(block, expr, site, first)
    scope = Scope(world, module, site.child(name), site.frame, module_scope(world, module), block=True)
    bind_types(block, inputs, clauses.get("over"), scope, site)
    outside = bind_results(block, clauses.get("to", ()), scope, site)
    world.calls.append(block)
    world.met.add(id(block))
    world.call_sites.append(CallSite(name, expr.span, {key: place for key, (_, place) in statics.items()}))
    try:
        bind_statics(block, statics, scope)
        check_widths(block, inputs, scope)
        results = _body(block, scope)
        check_results(block, results, scope)
    finally:
        world.calls.pop()
        world.call_sites.pop()
    if block.kind == "attention" and site.frame.outer is None:
        record_attention(block, inputs, results[0], scope)
    for result in results:
        name_axes(block, result, outside, scope, site, expr.span)
    return results


def module_scope(world: World, module: Module) -> Scope:
    """Return the scope of a file's own declarations."""
    scope = world.module_scopes.get(id(module))
    if scope is None:
        scope = Scope(world, module, "", world.root)
        for name, item in module.named.items():
            scope.entries[name] = Entry(item, item.ident.span)
        world.module_scopes[id(module)] = scope
    return scope


def _body(block: tree.Block, scope: Scope) -> list[Node]:
    world = scope.world
    returned: tree.Return | None = None
    for item in block.body:
        match item:
            case tree.Binding() | tree.Layer() | tree.Learned():
                declare_name(scope, item.ident, item)
            case tree.Unpack():
                for part in taken(item):
                    declare_name(scope, part.ident, part)
            case tree.Scan():
                for state in item.states:
                    declare_name(scope, state.ident, item)
            case tree.Return():
                if returned is not None:
                    world.report.error(
                        "E0501",
                        f"`{block.ident.name}` returns twice",
                        item.span,
                        secondary=(Label(returned.span, "it returns here"),),
                        help="keep one `return`; several results stand in it with commas: `return a, b`",
                    )
                returned = returned or item
    failed = False
    for item in block.body:
        if isinstance(item, tree.Require):
            try:
                require(item, Site(scope, scope.frame, scope.path))
            except Fault:
                failed = True
    if failed:
        raise Fault
    if returned is None:
        if world.report.lost("return", block.span):
            raise Fault
        raise world.fault(
            "E0501",
            f"`{block.ident.name}` returns nothing",
            block.ident.span,
            help="end its body with `return …`",
        )
    final = returned
    scope.returned = final.values
    # Every statement is elaborated, so that a fault in an unused one is seen too.
    site = Site(scope, scope.frame, scope.path)
    makers: list[Callable[[], Any]] = [partial(site.value, value) for value in final.values]
    makers += [
        partial(scope.value_of, entry, name)
        for name, entry in scope.entries.items()
        if entry.state == "waiting"
    ]
    results: list[Node] = all_of(*makers)[: len(final.values)]
    return [world.localize(result, scope.frame) for result in results]


def declare_name(scope: Scope, ident: tree.Ident, statement: tree.Node) -> None:
    known = scope.entries.get(ident.name)
    if known is not None:
        raise scope.world.fault(
            "E0202",
            f"`{ident.name}` is declared twice",
            ident.span,
            label="declared again here",
            secondary=(Label(known.span, "first declared here"),),
            why="a name stands for one thing; nothing is assigned a second time",
            help="give one of them another name",
        )
    scope.entries[ident.name] = Entry(statement, ident.span)


def require(item: tree.Require, site: Site) -> None:
    """Check a static condition. Raises Fault if it does not hold, with the values it has."""
    if truth(item.condition, site, "`require`"):
        return
    values = sorted({f"{r} = {describe(v)}" for r, v in _values(item.condition, site)})
    raise site.world.fault(
        "E0512",
        item.message.value if item.message else f"it is required that {item.condition.span.text}",
        item.condition.span,
        label="this does not hold",
        found=", ".join(values),
        help="give other values in this call"
        if is_standard(item.span.source)
        else "choose other values for the params",
    )


def _values(expr: tree.Expr, site: Site) -> list[tuple[str, Any]]:
    match expr:
        case tree.Ref(name=name):
            found = site.scope.find(name)
            return [] if found is None else [(name, found[0].value_of(found[1], name))]
        case tree.Unary(operand=operand):
            return _values(operand, site)
        case tree.Binary(left=left, right=right):
            return _values(left, site) + _values(right, site)
        case _:
            return []
