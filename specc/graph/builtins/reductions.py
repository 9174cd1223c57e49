"""Reductions over an axis or over channels: `sum mean max min last first softmax`."""

from __future__ import annotations

from collections.abc import Callable

from specc.graph.builtins.axes import no_children
from specc.graph.builtins.signature import Arguments, Builtin, declare
from specc.graph.conditions import condition
from specc.graph.ir import Node
from specc.graph.lookup import axis_of_value
from specc.types.axis import Type, union


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
