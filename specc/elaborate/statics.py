"""Static expressions in their scope: params, widths, bounds, options, domains.

Promises: `static` gives a value or raises `Fault` after reporting; nothing here makes a layer's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from specc.elaborate.lookup import axis_by_name
from specc.elaborate.scope import Entry, Scope
from specc.elaborate.world import Aside, Fault, LayerValue, Site
from specc.ir.graph import Node
from specc.report.suggest import nearest
from specc.syntax import tree
from specc.types.static import (
    StaticFault,
    StaticValue,
    Symbol,
    binary,
    describe,
    is_number,
    kind_of,
    unary,
)

STATIC_CALLS = ("width", "bound", "size")


def is_static_call(name: str, scope: Scope) -> bool:
    """Return whether a call of a name asks about something at compile time; a number may
    have that name too."""
    if name not in STATIC_CALLS:
        return False
    found = scope.find(name)
    if found is None:
        return True
    entry = found[1]
    if isinstance(entry.statement, tree.Param | tree.Static):
        return entry.state == "done" and is_number(entry.value)
    return entry.statement is None and is_number(entry.value)


def symbols_of(domain: tree.Domain | None) -> frozenset[str]:
    """Return the bare words of a domain, which stand for themselves in it and in comparisons with it."""
    if not isinstance(domain, tree.Choices):
        return frozenset()
    return frozenset(item.name for item in domain.items if isinstance(item, tree.Ref))


def is_static(expr: tree.Expr, scope: Scope) -> bool:
    """Return whether an expression has a value at compile time, judged without evaluating it."""
    match expr:
        case tree.Ref(name=name):
            found = scope.find(name)
            return found is not None and _is_static_entry(*found)
        case tree.Number() | tree.Text() | tree.Bool():
            return True
        case tree.Call(callee=tree.Ref(name=name)):
            return is_static_call(name, scope)
        case tree.List(items=items):
            return all(is_static(item, scope) for item in items)
        case tree.Index(value=value, index=index):
            return is_static(value, scope) and is_static(index, scope)
        case tree.Unary(operand=operand):
            return is_static(operand, scope)
        case tree.Binary():
            known = scope.static.get(id(expr))
            if known is None:
                known = scope.static[id(expr)] = _is_static_operation(expr, scope)
            return known
        case tree.If(then=then, other=other):
            return is_static(then, scope) and is_static(other, scope)
        case _:
            return False


def _is_static_entry(scope: Scope, entry: Entry) -> bool:
    statement = entry.statement
    if isinstance(statement, tree.Param):
        return True
    if isinstance(statement, tree.Table | tree.Space | tree.Block | tree.Device):
        return False
    if entry.state == "done":
        return not isinstance(entry.value, Node | LayerValue)
    return isinstance(statement, tree.Binding) and _is_static_binding(entry, statement, scope)


def _is_static_operation(expr: tree.Binary, scope: Scope) -> bool:
    """Return whether an operation is static. A long sum nests to the left: this is called for each part of
    it."""
    if expr.op in ("==", "!=") and _compared_symbols(expr.left, expr.right, scope):
        return True
    # The short side first.
    return is_static(expr.right, scope) and is_static(expr.left, scope)


def _is_static_binding(entry: Entry, statement: tree.Binding, scope: Scope) -> bool:
    if entry.static is None:
        entry.static = False  # what a definition by itself gets; reported where it is evaluated
        entry.static = is_static(statement.value, scope)
    return entry.static


def _compared_symbols(left: tree.Expr, right: tree.Expr, scope: Scope) -> frozenset[str]:
    """Return the symbols that `==` can compare: those of the domain of the param or static on a side."""
    for side in (left, right):
        if isinstance(side, tree.Ref):
            found = scope.find(side.name)
            if found is not None and isinstance(found[1].statement, tree.Param | tree.Static):
                symbols = symbols_of(found[1].statement.domain)
                if symbols:
                    return symbols
    return frozenset()


def static(expr: tree.Expr, site: Site, symbols: Iterable[str] = ()) -> StaticValue:
    """Return the compile-time value of an expression. `symbols` are bare words that stand for themselves."""
    return _STATICS.get(expr.__class__, _not_static)(expr, site, symbols)


def _literal(expr: tree.Number | tree.Text | tree.Bool, site: Site, _: Iterable[str]) -> StaticValue:
    value = expr.value
    if not isinstance(value, str) and abs(value) > 10**15:
        raise site.world.fault("E0403", "the number is too large", expr.span, help="the limit is 1e15")
    return value


def _list(expr: tree.List, site: Site, symbols: Iterable[str]) -> StaticValue:
    return tuple(static(item, site, symbols) for item in expr.items)


def _item(expr: tree.Index, site: Site, symbols: Iterable[str]) -> StaticValue:
    """Return an item of a list."""
    items, index = static(expr.value, site, symbols), static(expr.index, site)
    if not isinstance(items, tuple):
        raise site.world.fault(
            "E0403",
            f"only a list has items, and this is {kind_of(items)}",
            expr.value.span,
            found=describe(items),
        )
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(items):
        name = expr.value.span.text
        raise site.world.fault(
            "E0403",
            f"`{name}` has {len(items)} items, and none is numbered {describe(index)}"
            if is_number(index)
            else f"an item has a number, and this is {kind_of(index)}",
            expr.index.span,
            expected=f"0 to {len(items) - 1}" if items else "",
            found=describe(index),
            help=f"items are counted from 0; the last is `{name}[size({name}) - 1]`" if items else "",
        )
    return items[index]


def _unary(expr: tree.Unary, site: Site, _: Iterable[str]) -> StaticValue:
    value = static(expr.operand, site)
    try:
        return unary(expr.op, value)
    except StaticFault as why:
        raise site.world.fault("E0403", str(why), expr.span) from None


def _binary(expr: tree.Binary, site: Site, _: Iterable[str]) -> StaticValue:
    op, left, right = expr.op, expr.left, expr.right
    extra = _compared_symbols(left, right, site.scope) if op in ("==", "!=") else ()
    a, b = static(left, site, extra), static(right, site, extra)
    try:
        return binary(op, a, b)
    except StaticFault as why:
        found = f"{describe(a)} {op} {describe(b)}"
        raise site.world.fault("E0403", str(why), expr.span, found=found) from None


def _branch(expr: tree.If, site: Site, symbols: Iterable[str]) -> StaticValue:
    taken, aside = (expr.then, expr.other) if truth(expr.condition, site) else (expr.other, expr.then)
    site.world.branched(taken, Aside(aside, site, True, tuple(symbols)))
    return static(taken, site, symbols)


def _not_static(expr: tree.Expr, site: Site, _: Iterable[str]) -> StaticValue:
    if isinstance(expr, tree.Quantity):
        raise site.world.fault(
            "E0403", f"a number of {expr.unit}s is not expected here", expr.span,
            help=f"{expr.unit}s are counted by schedules in `train {{ … }}`; here it is "
            f"`{expr.value.span.text}`",
        )  # fmt: skip
    raise site.world.fault(
        "E0401",
        "a value known at compile time is needed here",
        expr.span,
        label="this is only known for an example",
        help="use a param, a number, `width(x)` or `bound(t)`",
    )


def _static_name(expr: tree.Ref, site: Site, symbols: Iterable[str]) -> StaticValue:
    if expr.name in symbols:
        return Symbol(expr.name)
    found = site.scope.find(expr.name)
    if found is None:
        known = [n for n in site.scope.names() if is_static(tree.Ref(n), site.scope)]
        if _is_word_of_param(expr, site):
            raise site.world.fault(
                "E0201",
                f"there is no param `{expr.name}`",
                expr.span,
                label="unknown name",
                why="a bare word stands for itself only where a domain has it",
                help=f"give the param a domain: `in {{{expr.name}, …}}`",
            )
        if symbols:
            raise site.world.unknown("E0201", "choice", expr.name, expr.span, [*sorted(symbols), *known])
        raise site.world.unknown("E0201", "param", expr.name, expr.span, known)
    scope, entry = found
    if not _is_static_entry(scope, entry):
        raise site.world.fault(
            "E0401",
            "a value known at compile time is needed here",
            expr.span,
            label=f"`{expr.name}` is only known for an example",
            help=f"for its number of channels, write `width({expr.name})`",
        )
    return entry.value if entry.state == "done" else scope.value_of(entry, expr.name)


def _is_word_of_param(expr: tree.Ref, site: Site) -> bool:
    """Return whether a name is the default of a param without a domain, which was meant as a choice."""
    return not site.report.lost(expr.name) and any(
        isinstance(e.statement, tree.Param)
        and e.statement.domain is None
        and e.statement.default is expr
        and nearest(expr.name, site.scope.names()) is None
        for e in site.scope.entries.values()
    )


def _static_call(expr: tree.Call, site: Site, _: Iterable[str]) -> StaticValue:
    world = site.world
    name = expr.callee.name if isinstance(expr.callee, tree.Ref) else ""
    if not is_static_call(name, site.scope):
        raise world.fault(
            "E0401",
            "a value known at compile time is needed here",
            expr.span,
            label="a layer's or block's result is only known for an example",
            help="use a param, a number, `width(x)` or `bound(t)`",
        )
    if len(expr.args) != 1 or not isinstance(expr.args[0], tree.Positional):
        raise world.fault("E0404", f"`{name}` takes exactly one argument", expr.span)
    argument = expr.args[0].value
    if name == "width":
        return site.value(argument).type.width
    if name == "size":
        return _size(argument, site)
    if not isinstance(argument, tree.Ref):
        raise world.fault("E0404", "`bound` takes the name of an axis", argument.span)
    return axis_by_name(argument.name, argument.span, site).bound


def _size(argument: tree.Expr, site: Site) -> int:
    """Return how many items a list has, or fields a space."""
    if is_static(argument, site.scope):
        items = static(argument, site)
        if isinstance(items, tuple):
            return len(items)
        raise site.world.fault(
            "E0403",
            f"`size` is of a list or a space, and this is {kind_of(items)}",
            argument.span,
            found=describe(items),
        )
    node = site.value(argument)
    fields = site.world.space_fields.get(node.id)
    if fields is None:
        raise site.world.fault(
            "E0315",
            "`size` is of a list or a space",
            argument.span,
            found=f"a value of type {node.type}",
            help="channels are counted by `width(x)`, the most positions of an axis by `bound(t)`",
        )
    return len(fields)


_STATICS: Mapping[type, Callable[[Any, Site, Iterable[str]], StaticValue]] = {
    tree.Number: _literal,
    tree.Text: _literal,
    tree.Bool: _literal,
    tree.List: _list,
    tree.Index: _item,
    tree.Unary: _unary,
    tree.Binary: _binary,
    tree.If: _branch,
    tree.Call: _static_call,
    tree.Ref: _static_name,
}


def truth(expr: tree.Expr, site: Site, where: str = "`if`") -> bool:
    """Return the value of a static condition. `where`: where it stands, for the message."""
    if not is_static(expr, site.scope):
        refs = _refs(expr)
        for ref in refs:
            found = site.scope.find(ref.name)
            if found is not None and found[1].state == "faulty":
                raise Fault
        for ref in (r for r in refs if site.scope.find(r.name) is None):
            if not _is_symbol_somewhere(ref.name, site):
                raise site.world.unknown("E0201", "param", ref.name, ref.span, site.scope.names())
        raise site.world.fault(
            "E0401",
            f"the condition of {where} must be known at compile time",
            expr.span,
            label="this is only known for an example",
            help="compare params, or use `where` in a reduction for conditions on positions",
        )
    result = static(expr, site)
    if not isinstance(result, bool):
        raise site.world.fault(
            "E0403",
            f"a condition is true or false, and this is {kind_of(result)}",
            expr.span,
            found=describe(result),
        )
    return result


def _is_symbol_somewhere(name: str, site: Site) -> bool:
    return any(
        name in symbols_of(e.statement.domain)
        for e in site.scope.entries.values()
        if isinstance(e.statement, tree.Param | tree.Static)
    )


def _refs(expr: tree.Expr) -> list[tree.Ref]:
    match expr:
        case tree.Ref():
            return [expr]
        case tree.Unary(operand=operand):
            return _refs(operand)
        case tree.Binary(left=left, right=right):
            return _refs(left) + _refs(right)
        case _:
            return []


def domain_values(domain: tree.Domain, site: Site) -> tuple[Any, ...] | tuple[float, float]:
    """Return the members of `{…}`, or the two ends of `lo .. hi`."""
    if isinstance(domain, tree.Choices):
        symbols = symbols_of(domain)
        return tuple(static(item, site, symbols) for item in domain.items)
    low, high = static(domain.low, site), static(domain.high, site)
    if not (is_number(low) and is_number(high)):
        raise site.world.fault("E0406", "the ends of a range are numbers", domain.span)
    if low > high:
        raise site.world.fault(
            "E0406",
            f"the range {describe(low)} .. {describe(high)} holds nothing",
            domain.span,
            help=f"write {describe(high)} .. {describe(low)}",
        )
    return (low, high)


def in_domain(value: StaticValue, domain: tree.Domain, site: Site) -> bool:
    values = domain_values(domain, site)
    if isinstance(domain, tree.Choices):
        return any(binary("==", value, v) for v in values)
    whole = all(isinstance(v, int) for v in values)
    if not is_number(value) or (whole and not isinstance(value, int)):
        return False
    return bool(values[0] <= value <= values[1])


def describe_domain(domain: tree.Domain, site: Site) -> str:
    try:
        values = domain_values(domain, site)
    except Fault:
        return "its domain"
    if isinstance(domain, tree.Choices):
        return "{" + ", ".join(describe(v) for v in values) + "}"
    return f"{describe(values[0])} .. {describe(values[1])}"
