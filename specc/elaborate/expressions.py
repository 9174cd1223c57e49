"""From expressions to nodes.

Promises: `value` gives a node whose type is known, or raises `Fault` once the reason is reported;
siblings (both sides of `+`, all arguments of a call) report together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from specc.elaborate.broadcast import broadcast
from specc.elaborate.calls import call
from specc.elaborate.elsewhere import other_library
from specc.elaborate.options import known_callable
from specc.elaborate.statics import is_static, is_static_call, static, truth
from specc.elaborate.world import Aside, Fault, LayerValue, Site, all_of
from specc.ir.graph import Node
from specc.names.program import KIND_WORDS
from specc.ops import op
from specc.report import Fix, Label
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Type
from specc.types.static import Symbol, describe, is_number, kind_of

T = TypeVar("T")
ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow", "%": "mod"}


def value(expr: tree.Expr, site: Site) -> Node:
    """Return the node of an expression at a place. Raises Fault."""
    rule: Callable[[Any, Site], Node] = _VALUES.get(expr.__class__, _static_value)
    node = rule(expr, site)
    if site.world.seen is not None:
        site.world.seen(expr, site, node)
    return node


def _pipe(expr: tree.Pipe, site: Site) -> Node:
    try:
        first = value(expr.left, site)
    except Fault:
        call(expr.target, site, None)  # the call's own mistakes are told all the same
        raise
    return call(expr.target, site, [(first, expr.left.span)])


def _branch(expr: tree.If, site: Site) -> Node:
    taken, aside = (expr.then, expr.other) if truth(expr.condition, site) else (expr.other, expr.then)
    site.world.branched(taken, Aside(aside, site))
    return value(taken, site)


def _call(expr: tree.Call, site: Site) -> Node:
    callee = expr.callee
    if isinstance(callee, tree.Ref) and is_static_call(callee.name, site.scope):
        return _static_value(expr, site)
    return call(expr, site, [])


def _negative(expr: tree.Unary, site: Site) -> Node:
    if expr.op != "-" or is_static(expr, site.scope):
        return _static_value(expr, site)
    node = value(expr.operand, site)
    return site.world.add(site, op.NEG, [node], node.type, expr.span)


def _arithmetic(expr: tree.Binary, site: Site) -> Node:
    if expr.op not in ARITHMETIC or is_static(expr, site.scope):
        return _static_value(expr, site)
    left, right = all_of(lambda: value(expr.left, site), lambda: value(expr.right, site))
    type_ = broadcast(site, expr.span, (left, expr.left.span), (right, expr.right.span))
    return site.world.add(site, ARITHMETIC[expr.op], [left, right], type_, expr.span)


def _static_value(expr: tree.Expr, site: Site) -> Node:
    """Return a number known at compile time, as a value; else the fault of what is no value."""
    match expr:
        case _ if is_static(expr, site.scope):
            return constant(static(expr, site), expr.span, site)
        case tree.Binary() | tree.Unary():
            raise site.world.fault(
                "E0312",
                f"`{expr.op}` is not for values of an example here",
                expr.span,
                why="conditions on values stand only in `where`; elsewhere they are static",
                help="use it on params, or inside `over t where …`",
            )
        case tree.Index(value=value):
            if isinstance(value, tree.Ref) and known_callable(value.name, site):
                if site.scope.find(value.name) is None:
                    raise site.world.fault(
                        "E0103",
                        f"what `{value.name}` is given stands in `( )`",
                        expr.span,
                        help=f"write `{value.name}({expr.index.span.text})`",
                        why="square brackets are for lists and types",
                        fix=Fix(expr.span, f"{value.name}({expr.index.span.text})", "write it in `( )`"),
                    )
            site.value(value)
            raise site.world.fault(
                "E0312",
                "only a list has items, and this is a value of an example",
                expr.span,
                why="values have named axes, and no numbered ones",
                help="positions: `first(x, over t)`, `last`, `take(x, k, over t)`; "
                "channels: `channels(x, start, stop)`",
            )
        case tree.Quantity():
            return constant(static(expr, site), expr.span, site)
        case _:
            raise site.world.fault(
                "E0312",
                f"{'a list' if isinstance(expr, tree.List) else 'a text'} is not a value of an example",
                expr.span,
                help=f"values side by side are one: `concat({expr.span.text[1:-1].strip()})`"
                if isinstance(expr, tree.List)
                and any(isinstance(i, tree.Ref | tree.Attribute) for i in expr.items)
                else "lists and texts are options of calls; a free vector is a `learned`",
            )


def constant(number: Any, span: Span, site: Site) -> Node:
    if not is_number(number):
        raise site.world.fault(
            "E0312",
            f"a value is needed here, and this is {kind_of(number)}",
            span,
            found=describe(number),
        )
    return site.world.add(site, op.CONSTANT, [], Type((), 1), span, {"value": number})


# ----------------------------------------------------------------------- names


def _name(expr: tree.Ref, site: Site) -> Node:
    name = expr.name
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
            help=f"tables are read through a space's fields, or as a whole: `rows({name}, as row)`"
            if kind == "table"
            else f"apply it: `{name}(x)` or `x |> {name}`",
        )
    if isinstance(entry.statement, tree.Predict):
        raise _predicted(expr, entry.statement, site)
    result = entry.value if entry.state == "done" else scope.value_of(entry, name)
    if isinstance(result, Node):
        return site.world.localize(result, site.frame)
    return constant(result, expr.span, site)


def _predicted(expr: tree.Ref, item: tree.Predict, site: Site) -> Fault:
    """Return the fault of a prediction's name where a value should be: it may mean the logit, or
    the label."""
    name = item.ident.name
    given = "logit" if item.kind.span.text.startswith("binary") else "value"
    return site.world.fault(
        "E0313",
        f"`{name}` is a prediction, and a value is needed here",
        expr.span,
        secondary=(Label(item.ident.span, "predicted here"),),
        why=f"it could mean what is predicted as well as the label, `label({name})`",
        help=f"give the {given} a name of its own: `{name}_{given} = …`, "
        f"and `predict {name}: {item.kind.span.text} = {name}_{given}`",
    )


def unknown_name(expr: tree.Ref, site: Site) -> Fault:
    if known_callable(expr.name, site):
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
    whole = scope.value_of(entry, expr.base.name)
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


# ---------------------------------------------------------------------- layers


def layer(expr: tree.Expr, site: Site) -> LayerValue:
    """Return the layer that an expression says: a name, a call that lacks its first input, or a pipe of
    such. Raises Fault."""
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
                    return as_layer(scope.value_of(entry, name), expr, site)
            return LayerValue(((expr.called, site),), name)
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


_VALUES: Mapping[type, Callable[[Any, Site], Node]] = {
    tree.Pipe: _pipe,
    tree.Ref: _name,
    tree.Attribute: _attribute,
    tree.If: _branch,
    tree.Call: _call,
    tree.Unary: _negative,
    tree.Binary: _arithmetic,
}
