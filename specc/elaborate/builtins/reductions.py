"""Reductions over an axis or over channels: `sum mean max min last first softmax`."""

from __future__ import annotations

from specc.elaborate.builtins.general import as_defined
from specc.elaborate.builtins.signature import Arguments, Rule, built_in
from specc.ir.graph import Node
from specc.ops import OPS, op
from specc.ops.definition import Along, OpDef
from specc.types.axis import Axis
from specc.types.many import nowhere


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
    """Report W0711: `sum(weight * x, over s)` where x has no `s`, so that the weights choose
    among nothing."""
    made = next((n for n in reversed(args.site.frame.nodes) if n.id == args.x.id), None)
    if made is None or made.op != op.MUL:
        return
    nodes = [next((n for n in args.site.frame.nodes if n.id == i), None) for i in made.inputs]
    for weight, other in (nodes, nodes[::-1]):
        if weight is None or other is None or other.op == op.CONSTANT:
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


def _checked(known: OpDef) -> Rule:
    """Return a reduction, with warnings of what has no effect."""
    make = as_defined(known)

    def rule(args: Arguments) -> Node:
        node = make(args)
        axis, softmax = node.attrs["axis"], known.name in (op.SOFTMAX, op.LOG_SOFTMAX)
        if softmax and axis is None and args.x.type.width == 1:
            _softmax_of_one(args, "channels, and there is only one")
        if softmax and axis is not None and axis.size is not None and nowhere(axis.size - 1):
            _softmax_of_one(args, f"`{axis.name}`, which has only one position")
        if known.name == op.SUM and axis is not None:
            _weighs_nothing(args, axis)
        return node

    return rule


for _known in OPS.values():
    if isinstance(_known.lowering, Along):
        built_in(_known.name)(_checked(_known))
