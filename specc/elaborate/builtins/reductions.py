"""Reductions over an axis or over channels: `sum mean max min last first softmax`."""

from __future__ import annotations

from collections.abc import Callable

from specc.elaborate.builtins.axes import no_children
from specc.elaborate.builtins.signature import Arguments, Builtin, declare
from specc.elaborate.conditions import condition
from specc.elaborate.lookup import axis_of_value
from specc.ir.graph import Node
from specc.types.axis import Axis, Type, union


def _softmax_of_one(args: Arguments, what: str) -> None:
    axes = [a.name for a in args.x.type.axes]
    meant = f"write `over {axes[-1]}`" if args.over is None and axes else "check which axis was meant"
    args.site.report.warning(
        "W0703",
        f"this softmax is over {what}",
        args.span,
        label="every weight is 1",
        why="a softmax over one element is 1 whatever the score, so nothing is learnt by it",
        help=meant,
    )


def _weighs_nothing(args: Arguments, axis: Axis) -> None:
    """W0711: `sum(weight * x, over s)` where x has no `s`, so that nothing of it is chosen."""
    made = next((n for n in reversed(args.site.frame.nodes) if n.id == args.x.id), None)
    if made is None or made.op != "mul":
        return
    nodes = [next((n for n in args.site.frame.nodes if n.id == i), None) for i in made.inputs]
    for weight, other in (nodes, nodes[::-1]):
        if weight is None or other is None or other.op == "constant":
            continue
        if axis in weight.type.axes and axis not in other.type.axes and weight.type.width == 1:
            if other.type.width == 1 and not other.type.axes:
                continue  # a sum of scores with a factor
            args.site.report.warning(
                "W0711",
                f"what is weighed here has no axis `{axis.name}`",
                args.span,
                label=f"{weight.type} times {other.type}, which is the same at each `{axis.name}`",
                why="a weighted sum chooses among the values along its axis",
                help=f"give the value that axis too: `rename(…, t to {axis.name})`",
            )
            return


def _reduction(op: str) -> Callable[[Arguments], Node]:
    def rule(args: Arguments) -> Node:
        x = args.x
        if args.over is None:
            if op == "softmax" and x.type.width == 1:
                _softmax_of_one(args, "channels, and there is only one")
            width = x.type.width if op == "softmax" else 1
            return args.add(op, [x], x.type.with_width(width), {"axis": None})
        axis = axis_of_value(args.over, x, args.site)
        inputs, type_ = [x], x.type
        if args.where is not None:
            mask = condition(args.where, args.site, x.type)
            type_ = Type(union(x.type, mask.type), x.type.width)
            inputs.append(mask)
        no_children(args, type_, axis, args.span)
        if op == "sum":
            _weighs_nothing(args, axis)
        if op == "softmax" and axis.size == 1:
            _softmax_of_one(args, f"`{axis.name}`, which has only one position")
        return args.add(op, inputs, type_ if op == "softmax" else type_.without(axis), {"axis": axis})

    return rule


for _op, _doc in (
    ("sum", "Sum; 0 over nothing."),
    ("mean", "Mean; 0 over nothing."),
    ("max", "Largest; 0 over nothing."),
    ("min", "Smallest; 0 over nothing."),
    ("last", "The last position; 0 where there is none."),
    ("first", "The first position; 0 where there is none."),
    ("softmax", "exp(x) divided by its sum along the axis, which stays."),
):
    declare(
        Builtin(_op, "reductions", ("x",), _reduction(_op), _doc, clauses={"over": False, "where": False})
    )
