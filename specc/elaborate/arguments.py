"""A block's signature meets the arguments of a call.

Promises: every mistake of a call is reported at its own place; the signature's variables are bound to the
arguments' axes and widths, in the scope of the block's instance. Leaves the body to `blocks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from specc.elaborate.binding import Signature, bound, tell, tell_missing
from specc.elaborate.lookup import axis_of_value
from specc.elaborate.options import COUNT, is_count, static_or_layer
from specc.elaborate.results import axis_variables, result_axes
from specc.elaborate.scope import Entry, Scope
from specc.elaborate.statics import describe_domain, in_domain, static
from specc.elaborate.world import Fault, Given, LayerValue, Site, World, all_of
from specc.ir.graph import Node
from specc.report import Label
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Axis
from specc.types.static import describe


def usage(block: tree.Block) -> str:
    """Return the block's signature, as it was written."""
    inputs = ", ".join(i.ident.name + i.type.span.text for i in block.inputs)
    statics = ", ".join(s.span.text for s in block.statics)
    return f"{block.ident.name}({inputs}{'; ' if statics else ''}{statics})"


def signature_of(block: tree.Block) -> Signature:
    """Return the signature by which a call of a block is bound."""
    known: Signature | None = block.memo.get("signature")
    if known is None:
        inputs = tuple(i.ident.name for i in block.inputs)
        statics = tuple(s.ident.name for s in block.statics)
        known = block.memo["signature"] = Signature(
            block.ident.name,
            inputs,
            statics,
            frozenset(s.ident.name for s in block.statics if s.default is None),
            frozenset(["over"] * bool(axis_variables(block)) + ["to"] * bool(result_axes(block))),
            inputs + statics,
            usage(block),
            (Label(block.ident.span, "declared here"),),
        )
    return known


def bind_arguments(
    block: tree.Block, expr: tree.Call, site: Site, first: list[Given] | None
) -> tuple[dict[str, Given], dict[str, tuple[Any, Span]], Mapping[str, Any]]:
    """Return inputs, statics and clauses by name, after reporting every mistake of the call.
    Raises Fault."""
    signature = signature_of(block)
    binding = bound(signature, expr, 1 if first is None else len(first))
    inputs: dict[str, Given] = dict(zip(signature.inputs, first or (), strict=False))
    statics: dict[str, tuple[Any, Span]] = {}
    domains = {s.ident.name: s.domain for s in block.statics}
    failed = first is None
    for name, argument in binding.inputs:
        try:
            inputs[name] = (site.value(argument.value), argument.span)
        except Fault:
            failed = True
    for name, argument in binding.given:
        try:
            given = static_or_layer(argument.value, site, domains[name])
            statics[name] = (given, argument.value.span)
        except Fault:
            failed = True
    for slip in binding.slips:
        tell(signature, slip, binding, site, told=False)
    if binding.missing and not binding.slips:
        tell_missing(signature, binding.missing, expr, site)
    if failed or binding.slips or binding.missing:
        raise Fault
    return inputs, statics, binding.clauses


# ---------------------------------------------------------------------- types


def bind_types(
    block: tree.Block, inputs: dict[str, Given], over: tree.Ident | None, scope: Scope, site: Site
) -> None:
    """Bind the signature's axis and width variables in the block's scope."""
    bound: dict[str, Axis] = {}
    variables = axis_variables(block)

    def one(item: tree.Input) -> None:
        node, place = inputs[item.ident.name]
        for ident in item.type.axes:
            if ident.name in bound:
                if bound[ident.name] not in node.type.axes:
                    raise _lacks_axis(block, item, ident, node, place, scope.world, bound[ident.name])
            elif over is not None and ident.name == variables[0]:
                bound[ident.name] = axis_of_value(over, node, site)
            else:
                bound[ident.name] = _match(block, item, ident, node, place, site, bound)
        scope.bind(item.ident.name, node, place)

    all_of(*((lambda item=item: one(item)) for item in block.inputs))
    for name, axis in bound.items():
        scope.name_axis(name, axis)
    scope.bound = bound
    for item in block.inputs:
        node, place = inputs[item.ident.name]
        mentioned = {bound[ident.name] for ident in item.type.axes}
        for name, axis in bound.items():
            if axis in node.type.axes and axis not in mentioned and not is_ancestor(axis, node.type.axes):
                raise scope.world.fault(
                    "E0503",
                    f"`{item.ident.name}` has the axis `{axis.name}` too",
                    place,
                    expected=f"{item.type.span.text}, without `{axis.name}`",
                    found=str(node.type),
                    secondary=(Label(item.span, f"declared without `{name}` here"),),
                    why=f"`{block.ident.name}` works along it as `{name}`, so it cannot also pass through",
                    help=f"give the value an axis of its own: `rename({place.text}, {axis.name} to s)`",
                )
    every = {axis for node, _ in inputs.values() for axis in node.type.axes}
    scope.passing = frozenset(every - set(bound.values()))


def is_ancestor(axis: Axis, axes: tuple[Axis, ...]) -> bool:
    """Return whether an axis is the parent, in however many steps, of one that is there: parents
    come along."""
    for other in axes:
        up = other.parent
        while up is not None:
            if up == axis:
                return True
            up = up.parent
    return False


def _lacks_axis(
    block: tree.Block, item: tree.Input, ident: tree.Ident, node: Node, place: Span, world: World,
    axis: Axis | None,
) -> Fault:  # fmt: skip
    meant = f" (`{axis.name}` here)" if axis and axis.name != ident.name else ""
    return world.fault(
        "E0304",
        f"`{item.ident.name}` of `{block.ident.name}` needs the axis `{ident.name}`{meant}",
        place,
        expected=item.type.span.text,
        found=str(node.type),
        secondary=(Label(item.span, "declared here"),),
        help="give it a value that has an axis, such as a space declared with `[t <= 100]`"
        if not node.type.axes
        else "",
    )


def _match(
    block: tree.Block, item: tree.Input, ident: tree.Ident, node: Node, place: Span, site: Site,
    bound: dict[str, Axis],
) -> Axis:  # fmt: skip
    """Return the axis of an argument that an axis variable stands for."""
    free = [a for a in node.type.axes if a not in bound.values()]
    if not free:
        raise _lacks_axis(block, item, ident, node, place, site.world, None)
    alike = [a for a in free if a in site.scope.axes_named(ident.name)]
    alike = alike or [a for a in free if a.name == ident.name]
    if not alike and len(free) > 1:
        site.scope.make_axes(ident.name)  # of one axis that has two names, one may be given further down
        alike = [a for a in free if a in site.scope.axes_named(ident.name)]
    if len(alike) == 1:
        return alike[0]
    waiting = [one for one in item.type.axes if one.name not in bound]
    nested = all(inner.parent == outer for outer, inner in pairwise(free))
    if len(free) == 1 or (nested and len(free) == len(waiting)):
        return free[0]  # each lives in the one before, in the signature as in the value
    raise site.world.fault(
        "E0306",
        f"`{ident.name}` of `{block.ident.name}` could be any of "
        + " and ".join(f"`{a.name}`" for a in free),
        place,
        expected=item.type.span.text,
        found=str(node.type),
        secondary=(Label(item.span, "declared here"),),
        help=f"say which: `{block.ident.name}(…, over {free[-1].name})`",
    )


def bind_statics(block: tree.Block, given: dict[str, tuple[Any, Span]], scope: Scope) -> None:
    """Bind statics in order: to what the call gave, else to the default, which may use widths and earlier
    statics."""
    site = Site(scope, scope.frame, scope.path)
    _bind_width_variables(block, scope)

    def one(item: tree.Static) -> None:
        name = item.ident.name
        if name in given:
            result, place = given[name]
        else:
            assert item.default is not None
            result, place = static_or_layer(item.default, site, item.domain), item.default.span
        if item.domain is not None and not isinstance(result, LayerValue):
            if not in_domain(result, item.domain, site):
                raise scope.world.fault(
                    "E0406",
                    f"`{name}` of `{block.ident.name}` cannot be {describe(result)}",
                    place,
                    expected=describe_domain(item.domain, site),
                    found=describe(result),
                    secondary=(Label(item.span, "its domain is declared here"),),
                )
        scope.entries[name] = Entry(item, item.ident.span, result, "done")

    all_of(*((lambda item=item: one(item)) for item in block.statics))


def _is_variable(expr: tree.Expr, block: tree.Block, scope: Scope) -> bool:
    """Return whether a bare name in a signature is a variable: it is no static of the block and no param."""
    if not isinstance(expr, tree.Ref) or any(s.ident.name == expr.name for s in block.statics):
        return False
    found = scope.outer.find(expr.name) if scope.outer else None
    return found is None or not isinstance(found[1].statement, tree.Param)


def _bind_width_variables(block: tree.Block, scope: Scope) -> None:
    for item in block.inputs:
        expr = item.type.width
        if isinstance(expr, tree.Ref) and _is_variable(expr, block, scope):
            node: Node = scope.entries[item.ident.name].value
            known = scope.entries.get(expr.name)
            if known is None:
                scope.bind(expr.name, node.type.width, item.span)


def declared_width(expr: tree.Expr, site: Site) -> int:
    """Return a width as a signature declares it. Raises Fault unless it can be one."""
    width = static(expr, site)
    if not is_count(width):
        raise site.world.fault(
            "E0403",
            f"a width is {COUNT}",
            expr.span,
            found=describe(width),
            help="write a number, or a name that nothing else has: it stands for any width",
        )
    return width  # type: ignore[no-any-return]


def check_widths(block: tree.Block, inputs: dict[str, Given], scope: Scope) -> None:
    site = Site(scope, scope.frame, scope.path)

    def one(item: tree.Input) -> None:
        node, place = inputs[item.ident.name]
        wanted = declared_width(item.type.width, site)
        if wanted != node.type.width:
            text = item.type.width.span.text
            shown = f"{text} = {describe(wanted)}" if not isinstance(item.type.width, tree.Number) else text
            raise scope.world.fault(
                "E0301",
                f"`{item.ident.name}` of `{block.ident.name}` has the wrong width",
                place,
                expected=f"width {shown}",
                found=str(node.type),
                secondary=(Label(item.span, "declared here"),),
                help=f"bring it to that width with `|> linear({describe(wanted)})`",
            )

    all_of(*((lambda item=item: one(item)) for item in block.inputs))
