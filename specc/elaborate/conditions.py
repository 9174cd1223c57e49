"""Conditions on positions: what follows `where`.

Promises: axis names stand for 0-based positions there; the result is 1 or 0 at each position, width 1.
"""

from __future__ import annotations

from specc.elaborate.broadcast import broadcast
from specc.elaborate.lookup import axis_by_name
from specc.elaborate.positions import length, position
from specc.elaborate.statics import is_static, static
from specc.elaborate.world import Site, all_of
from specc.ir.graph import Node
from specc.ops import op
from specc.syntax import tree
from specc.types.axis import Axis, Type, union
from specc.types.static import is_number, kind_of

COMPARISON = {"<": op.LT, "<=": op.LE, ">": op.GT, ">=": op.GE, "==": op.EQ, "!=": op.NE}


def condition(expr: tree.Expr, site: Site, type_: Type) -> Node:
    """Return a condition on the positions of a value of the given type. Raises Fault."""
    match expr:
        case tree.Binary(op="and" | "or" as word):
            left, right = all_of(
                lambda: condition(expr.left, site, type_), lambda: condition(expr.right, site, type_)
            )
            return site.world.add(site, word, [left, right], Type(union(left.type, right.type), 1), expr.span)
        case tree.Unary(op="not", operand=operand):
            node = condition(operand, site, type_)
            return site.world.add(site, op.NOT, [node], node.type, expr.span)
        case tree.Binary(op=sign) if sign in COMPARISON:
            left, right = all_of(
                lambda: _operand(expr.left, site, type_), lambda: _operand(expr.right, site, type_)
            )
            result = broadcast(site, expr.span, (left, expr.left.span), (right, expr.right.span))
            if result.width != 1:
                raise site.world.fault(
                    "E0309",
                    "a condition compares single numbers",
                    expr.span,
                    expected="width 1",
                    found=str(result),
                )
            return site.world.add(site, COMPARISON[sign], [left, right], result, expr.span)
        case _ if is_static(expr, site.scope) and isinstance(static(expr, site), bool):
            number = 1 if static(expr, site) else 0
            return site.world.add(site, op.CONSTANT, [], Type((), 1), expr.span, {"value": number})
        case _:
            raise site.world.fault(
                "E0309",
                "`where` needs a condition",
                expr.span,
                help="such as `s <= t`, where the axis names stand for positions counted from 0",
            )


def _operand(expr: tree.Expr, site: Site, type_: Type) -> Node:
    """Return a side of a comparison: arithmetic in which an axis name is the position along it."""
    match expr:
        case tree.Call(tree.Ref("length"), (tree.Positional(tree.Ref(name)),)) if axes := _axes_named(
            name, site, type_
        ):
            return length(axes[0], site, expr.span)
        case tree.Ref(name=name):
            axes = _axes_named(name, site, type_)
            if not axes and site.scope.find(name) is None:
                # An axis the value lacks: the condition brings it in, as in a running mean.
                axes = [axis_by_name(name, expr.span, site)]
            return position(axes[0], site, expr.span) if axes else site.value(expr)
        case tree.Binary(op=sign) if sign in ("+", "-", "*", "/", "%") and not is_static(expr, site.scope):
            left, right = all_of(
                lambda: _operand(expr.left, site, type_), lambda: _operand(expr.right, site, type_)
            )
            result = broadcast(site, expr.span, (left, expr.left.span), (right, expr.right.span))
            name = {"+": op.ADD, "-": op.SUB, "*": op.MUL, "/": op.DIV, "%": op.MOD}[sign]
            return site.world.add(site, name, [left, right], result, expr.span)
        case _ if is_static(expr, site.scope):
            number = static(expr, site)
            if not is_number(number):
                raise site.world.fault(
                    "E0309", f"a condition compares numbers, and this is {kind_of(number)}", expr.span
                )
            return site.value(expr)
        case _:
            return site.value(expr)


def _axes_named(name: str, site: Site, type_: Type) -> list[Axis]:
    """Return the axes of the value itself that a name means in its condition."""
    local = site.scope.axes_named(name)
    return [a for a in type_.axes if a in local] or [
        a for a in type_.axes if a.name == name and not site.scope.knows_axis(a)
    ]
