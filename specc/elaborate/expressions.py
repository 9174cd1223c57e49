"""From expressions to nodes.

Promises: `value` gives a node whose type is known, or raises `Fault` once the reason is reported;
siblings (both sides of `+`, all arguments of a call) report together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from specc.elaborate.statics import is_static, static, symbols_of, truth
from specc.elaborate.world import Aside, Entry, Fault, LayerValue, Scope, Site
from specc.ir.graph import Node
from specc.names.program import KIND_WORDS
from specc.report import Fix, Label
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Axis, Type, union
from specc.types.static import Symbol, describe, is_number, kind_of

T = TypeVar("T")
ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow"}
COMPARISON = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}


def all_of(*makers: Callable[[], T]) -> list[T]:
    """Every result, or one Fault after each maker had the chance to report its own."""
    results, failed = [], False
    for maker in makers:
        try:
            results.append(maker())
        except Fault:
            failed = True
    if failed:
        raise Fault
    return results


def value(expr: tree.Expr, site: Site) -> Node:
    """The node of an expression at a place. Raises Fault."""
    from specc.elaborate.calls import call

    match expr:
        case tree.Pipe(left=left, right=right):
            target = right if isinstance(right, tree.Call) else tree.Call(right, (), span=right.span)
            try:
                first = value(left, site)
            except Fault:
                call(target, site, None)  # the call's own mistakes are told all the same
                raise
            return call(target, site, [(first, left.span)])
        case tree.Ref(name=name):
            return _name(expr, name, site)
        case tree.Attribute():
            return _attribute(expr, site)
        case tree.If(condition=condition, then=then, other=other):
            taken, aside = (then, other) if truth(condition, site) else (other, then)
            site.world.branched(taken, Aside(aside, site))
            return value(taken, site)
        case _ if is_static(expr, site.scope):
            return constant(static(expr, site), expr.span, site)
        case tree.Unary(op="-", operand=operand):
            node = value(operand, site)
            return site.world.add(site, "neg", [node], node.type, expr.span)
        case tree.Binary(op=op) if op in ARITHMETIC:
            left_node, right_node = all_of(lambda: value(expr.left, site), lambda: value(expr.right, site))
            type_ = broadcast(site, expr.span, (left_node, expr.left.span), (right_node, expr.right.span))
            return site.world.add(site, ARITHMETIC[op], [left_node, right_node], type_, expr.span)
        case tree.Call():
            return call(expr, site, [])
        case tree.Binary(op="%") | tree.Binary() | tree.Unary():
            raise site.world.fault(
                "E0312",
                f"`{expr.op}` is not for values of an example here",
                expr.span,
                why="conditions and remainders of values stand only in `where`; elsewhere they are static",
                help="use it on params, or inside `over t where …`",
            )
        case tree.Quantity():
            return constant(static(expr, site), expr.span, site)
        case _:
            raise site.world.fault(
                "E0312",
                f"{'a list' if isinstance(expr, tree.List) else 'a text'} is not a value of an example",
                expr.span,
                help="lists and texts are options of calls; a free vector is a `learned`",
            )


def constant(number: Any, span: Span, site: Site) -> Node:
    if not is_number(number):
        raise site.world.fault(
            "E0312",
            f"a value is needed here, and this is {kind_of(number)}",
            span,
            found=describe(number),
        )
    return site.world.add(site, "constant", [], Type((), 1), span, {"value": number})


def broadcast(site: Site, span: Span, *operands: tuple[Node, Span]) -> Type:
    """The type of values combined channel by channel: axes by name, widths equal or 1."""
    width, widest = 1, operands[0]
    for node, place in operands:
        if node.type.width != 1:
            if width not in (1, node.type.width):
                raise site.world.fault(
                    "E0301",
                    "the widths do not match",
                    span,
                    expected=f"width {width} or 1 on both sides",
                    found=f"{widest[0].type} and {node.type}",
                    secondary=(
                        Label(widest[1], f"this is {widest[0].type}"),
                        Label(place, f"this is {node.type}"),
                    ),
                    why="values are combined channel by channel; a width of 1 is repeated",
                    help=f"bring one to the other's width, for instance with `|> linear({width})`",
                )
            width, widest = node.type.width, (node, place)
    axes = union(*(node.type for node, _ in operands))
    _same_names(site, span, axes, operands)
    return Type(axes, width)


def _same_names(
    site: Site, span: Span, axes: tuple[Axis, ...], operands: tuple[tuple[Node, Span], ...]
) -> None:
    """Two different axes under one name are almost always a mistake, and never printable."""
    by_name: dict[str, Axis] = {}
    for axis in axes:
        other = by_name.setdefault(axis.name, axis)
        if other == axis or not (site.scope.knows_axis(axis) and site.scope.knows_axis(other)):
            continue
        raise site.world.fault(
            "E0303",
            f"these are two different axes called `{axis.name}`",
            span,
            found=" and ".join(str(node.type) for node, _ in operands),
            secondary=tuple(
                Label(place, f"here `{axis.name}` is {origin(a)}")
                for node, place in operands
                for a in node.type.axes
                if a.name == axis.name
            ),
            why="values can only be combined along an axis when it is the same axis",
            help="share an axis between spaces with `like`, or rename one of them: `rename(x, t to s)`",
        )


def origin(axis: Axis) -> str:
    """How an axis came about, in words."""
    source = axis.source[0].name if axis.source else ""
    match axis.kind:
        case "space":
            return f"that of `{axis.key[1]}`"
        case "shorter":
            return f"all but one of `{source}`"
        case "appended":
            return f"`{source}` with more at the end"
        case "taken":
            return f"the first {axis.key[2]} of `{source}`"
        case "top":
            return f"the best {axis.key[2]} of `{source}`"
        case "renamed":
            return f"a copy of `{source}`"
        case _:
            return f"a static axis of {axis.size}"


# ----------------------------------------------------------------------- names


def _name(expr: tree.Ref, name: str, site: Site) -> Node:
    found = site.scope.find(name)
    if found is None:
        raise unknown_name(expr, site)
    scope, entry = found
    if isinstance(entry.statement, tree.Table | tree.Block | tree.Layer | tree.Device):
        kind = KIND_WORDS[type(entry.statement)]
        raise site.world.fault(
            "E0313",
            f"`{name}` is a {kind}, and a value is needed here",
            expr.span,
            secondary=(Label(entry.span, "declared here"),),
            help="tables are read through a space's fields"
            if kind == "table"
            else f"apply it: `{name}(x)` or `x |> {name}`",
        )
    result = entry_value(scope, entry, name)
    if isinstance(result, Node):
        return site.world.localize(result, site.frame)
    return constant(result, expr.span, site)


def unknown_name(expr: tree.Ref, site: Site) -> Fault:
    from specc.elaborate.builtins.signature import BUILTINS

    if expr.name in BUILTINS or site.world.program.block(site.scope.module, expr.name):
        return site.world.fault(
            "E0313",
            f"`{expr.name}` is a layer, and a value is needed here",
            expr.span,
            help=f"apply it: `{expr.name}(x)` or `x |> {expr.name}`",
        )
    return site.world.unknown("E0201", "value", expr.name, expr.span, site.scope.names())


def _attribute(expr: tree.Attribute, site: Site) -> Node:
    world = site.world
    found = site.scope.find(expr.base.name)
    if found is None:
        from specc.elaborate.elsewhere import other_library

        if (foreign := other_library(expr, site)) is not None:
            raise foreign
        raise world.unknown("E0201", "space", expr.base.name, expr.base.span, site.scope.names())
    scope, entry = found
    if not isinstance(entry.statement, tree.Space):
        raise world.fault(
            "E0314",
            f"`{expr.base.name}` has no fields",
            expr.span,
            secondary=(Label(entry.span, "declared here"),),
            why="only a space has fields",
            help="the channels of a value are taken apart with `split(x, n, as axis)`",
        )
    whole = entry_value(scope, entry, expr.base.name)
    fields = world.spaces[expr.base.name].fields
    for field, node in zip(fields, world.space_fields[whole.id], strict=True):
        if field.name == expr.ident.name:
            return world.localize(node, site.frame)
    raise world.unknown(
        "E0201",
        "field",
        expr.ident.name,
        expr.ident.span,
        [f.name for f in fields],
        f"space `{expr.base.name}`",
    )


def entry_value(scope: Scope, entry: Entry, name: str) -> Any:
    """What a name stands for; elaborated on first use. Raises Fault."""
    from specc.elaborate.declarations import elaborate_entry, made_axes

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
            scope.world.report.lose(made_axes(entry.statement.value))
        raise
    finally:
        scope.world.busy.pop()
    entry.state = "done"
    return entry.value


def _circle(scope: Scope, name: str, entry: Entry) -> Fault:
    """A value that needs itself, told as the path by which it does."""
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


# ---------------------------------------------------------------------- layers


def layer(expr: tree.Expr, site: Site) -> LayerValue:
    """An expression where a layer is wanted: a name, a call that lacks its first input, or a
    pipe of such. Raises Fault."""
    match expr:
        case tree.Pipe(left=left, right=right):
            first, second = layer(left, site), layer(right, site)
            return LayerValue(first.calls + second.calls, f"{first} |> {second}")
        case tree.Call():
            return LayerValue(((expr, site),), expr.span.text)
        case tree.Ref(name=name):
            found = site.scope.find(name)
            if found is not None:
                scope, entry = found
                if isinstance(entry.statement, tree.Param | tree.Static | tree.Layer) or (
                    entry.state == "done" and isinstance(entry.value, LayerValue | Symbol)
                ):
                    return as_layer(entry_value(scope, entry, name), expr, site)
            return LayerValue(((tree.Call(expr, (), span=expr.span), site),), name)
        case tree.Attribute():
            return LayerValue(((tree.Call(expr, (), span=expr.span), site),), expr.span.text)
        case tree.Text(value=name) if name.isidentifier():
            raise site.world.fault(
                "E0407",
                "a layer is needed here, and this is a text",
                expr.span,
                help=f"write `{name}`",
                fix=Fix(expr.span, name, f"write `{name}`"),
            )
        case _:
            raise site.world.fault(
                "E0407",
                "a layer is needed here",
                expr.span,
                help="such as `relu`, `linear(64)` or the name of a block",
            )


def as_layer(result: Any, expr: tree.Expr, site: Site) -> LayerValue:
    if isinstance(result, LayerValue):
        return result
    if isinstance(result, Symbol):
        ref = tree.Ref(result.name, span=expr.span)
        return LayerValue(((tree.Call(ref, (), span=expr.span), site),), result.name)
    raise site.world.fault(
        "E0407", f"a layer is needed here, and this is {kind_of(result)}", expr.span, found=describe(result)
    )


def static_or_layer(expr: tree.Expr, site: Site, domain: tree.Domain | None) -> Any:
    """An argument for a block's static: a compile-time value, a symbol of its domain, or a layer."""
    symbols = symbols_of(domain)
    if isinstance(expr, tree.Ref) and expr.name in symbols:
        return Symbol(expr.name)
    if isinstance(expr, tree.Pipe):
        return layer(expr, site)
    if isinstance(expr, tree.Call | tree.Ref | tree.Attribute) and not is_static(expr, site.scope):
        found = site.scope.find(expr.name) if isinstance(expr, tree.Ref) else None
        if found is None or isinstance(found[1].statement, tree.Block | tree.Layer | tree.Static | None):
            if isinstance(expr, tree.Ref) and found is None and symbols:
                raise site.world.unknown("E0201", "choice", expr.name, expr.span, sorted(symbols))
            if isinstance(expr, tree.Ref):
                from specc.elaborate.calls import known_callable

                if not known_callable(expr.name, site):
                    raise site.world.unknown(
                        "E0201", "param or layer", expr.name, expr.span, site.scope.names()
                    )
            return layer(expr, site)
    return static(expr, site, symbols)
