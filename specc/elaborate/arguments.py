"""A block's signature meets the arguments of a call.

Promises: every mistake of a call is reported at its own place; the signature's variables are bound to the
arguments' axes and widths, in the scope of the block's instance. Leaves the body to `blocks`.
"""

from __future__ import annotations

from typing import Any

from specc.elaborate.lookup import axis_of_value
from specc.elaborate.options import static_or_layer
from specc.elaborate.statics import describe_domain, in_domain, static
from specc.elaborate.world import Entry, Fault, Given, LayerValue, Scope, Site, World, all_of
from specc.ir.graph import Node
from specc.report import Label
from specc.report.suggest import suggestion
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Axis
from specc.types.static import describe


def usage(block: tree.Block) -> str:
    """The block's signature, as it was written."""
    inputs = ", ".join(i.ident.name + i.type.span.text for i in block.inputs)
    statics = ", ".join(s.span.text for s in block.statics)
    return f"{block.ident.name}({inputs}{'; ' if statics else ''}{statics})"


def bind_arguments(
    block: tree.Block, expr: tree.Call, site: Site, first: list[Given] | None
) -> tuple[dict[str, Given], dict[str, tuple[Any, Span]], tree.Over | None]:
    """Inputs, statics and the `over` clause by name, every mistake of the call reported."""
    world, name = site.world, block.ident.name
    declared = Label(block.ident.span, "declared here")
    given_names = [i.ident.name for i in block.inputs]
    inputs: dict[str, Given] = dict(zip(given_names, first or (), strict=False))
    statics: dict[str, tuple[Any, Span]] = {}
    over: tree.Over | None = None
    domains = {s.ident.name: s.domain for s in block.statics}
    order = [i.ident.name for i in block.inputs] + list(domains)
    named = {a.ident.name for a in expr.args if isinstance(a, tree.Keyword)}
    failed = (1 if first is None else len(first)) > len(block.inputs)
    if failed:
        site.report.error(
            "E0404", f"`{name}` takes no input", expr.span, expected=usage(block), secondary=(declared,)
        )

    def give(target: str, argument: tree.Expr, span: Span) -> None:
        if target in domains:
            statics[target] = (static_or_layer(argument, site, domains[target]), argument.span)
        else:
            inputs[target] = (site.value(argument), span)

    seen: set[str] = set(given_names[:1]) if first is None else set(inputs)
    for argument in expr.args:
        try:
            match argument:
                case tree.Positional(value=given):
                    free = [n for n in order if n not in seen and n not in named]
                    if not free:
                        raise world.fault(
                            "E0404",
                            f"`{name}` is given an argument too many",
                            argument.span,
                            expected=usage(block),
                            secondary=(declared,),
                        )
                    seen.add(free[0])
                    give(free[0], given, argument.span)
                case tree.Keyword(ident=ident, value=given):
                    if ident.name not in order:
                        if site.report.lost(ident.name):
                            raise Fault
                        help, fix = suggestion(ident.name, ident.span, order)
                        raise world.fault(
                            "E0402",
                            f"`{name}` has no option `{ident.name}`",
                            ident.span,
                            label="unknown option",
                            expected=usage(block),
                            help=help,
                            secondary=(declared,),
                            fix=fix,
                        )
                    if ident.name in seen:
                        raise world.fault("E0404", f"`{ident.name}` is given twice", ident.span)
                    seen.add(ident.name)
                    give(ident.name, given, argument.span)
                case tree.Over(new=None, where=None) if over is None and _axis_variables(block):
                    over = argument
                case _:
                    word = argument.span.text.split(" ", 1)[0]
                    raise world.fault(
                        "E0404",
                        f"`{name}` takes no `{word}`" + (" here" if over else ""),
                        argument.span,
                        expected=usage(block),
                        secondary=(declared,),
                    )
        except Fault:
            failed = True
    missing = [n.ident.name for n in block.inputs if n.ident.name not in seen]
    missing += [s.ident.name for s in block.statics if s.default is None and s.ident.name not in seen]
    if missing and not failed:
        site.report.error(
            "E0404",
            f"`{name}` lacks " + " and ".join(f"`{m}`" for m in missing),
            expr.span,
            expected=usage(block),
            secondary=(declared,),
        )
    if failed or missing or first is None:
        raise Fault
    return inputs, statics, over


def _axis_variables(block: tree.Block) -> list[str]:
    return list(dict.fromkeys(a.name for i in block.inputs for a in i.type.axes))


# ---------------------------------------------------------------------- types


def bind_types(
    block: tree.Block, inputs: dict[str, Given], over: tree.Over | None, scope: Scope, site: Site
) -> frozenset[Axis]:
    """Bind the signature's axis and width variables in the block's scope; gives the axes that only
    pass through."""
    bound: dict[str, Axis] = {}
    variables = _axis_variables(block)

    def one(item: tree.Input) -> None:
        node, place = inputs[item.ident.name]
        for ident in item.type.axes:
            if ident.name in bound:
                if bound[ident.name] not in node.type.axes:
                    raise _lacks_axis(block, item, ident, node, place, scope.world, bound[ident.name])
            elif over is not None and ident.name == variables[0]:
                bound[ident.name] = axis_of_value(over.axis, node, site)
            else:
                bound[ident.name] = _match(block, item, ident, node, place, site, bound)
        scope.bind(item.ident.name, node, place)

    all_of(*((lambda item=item: one(item)) for item in block.inputs))
    for name, axis in bound.items():
        scope.name_axis(name, axis)
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
    return frozenset(every - set(bound.values()))


def is_ancestor(axis: Axis, axes: tuple[Axis, ...]) -> bool:
    """A parent comes along with every axis that lives in it."""
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
    """The axis of an argument that an axis variable stands for."""
    free = [a for a in node.type.axes if a not in bound.values()]
    if not free:
        raise _lacks_axis(block, item, ident, node, place, site.world, None)
    alike = [a for a in free if a in site.scope.axes_named(ident.name)]
    alike = alike or [a for a in free if a.name == ident.name]
    if len(alike) == 1:
        return alike[0]
    if len(free) == 1:
        return free[0]
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
    """Statics in order: what the call gave, else the default, which may use widths and earlier ones."""
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
    """A bare name in a signature is a variable, unless it is one of the block's statics or a param."""
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


def check_widths(block: tree.Block, inputs: dict[str, Given], scope: Scope) -> None:
    site = Site(scope, scope.frame, scope.path)

    def one(item: tree.Input) -> None:
        node, place = inputs[item.ident.name]
        wanted = static(item.type.width, site)
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
