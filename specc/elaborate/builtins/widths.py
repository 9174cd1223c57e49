"""Channels: `concat channels dot`."""

from __future__ import annotations

from specc.elaborate.bodies import static_axis
from specc.elaborate.broadcast import broadcast
from specc.elaborate.builtins.signature import Arguments, Builtin, built_in, declare
from specc.ir.graph import Node
from specc.ops import op
from specc.ops.definition import Option
from specc.report import Label
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Axis, Type, union


def new_axis(args: Arguments, ident: tree.Ident, size: int) -> Axis:
    """Return the static axis of a name and size."""
    return static_axis(args.site, ident.name, size, ident.span)


def without_axis_named(args: Arguments, type_: Type, place: Span, ident: tree.Ident) -> None:
    scope = args.site.scope
    here, passing = scope.axes_named(ident.name), scope.body.passing
    if any((a in here or a.name == ident.name) and a not in passing for a in type_.axes):
        raise args.world.fault(
            "E0303",
            f"the value already has an axis `{ident.name}`",
            ident.span,
            found=str(type_),
            help="choose another name for the new axis",
        )


def _channels(args: Arguments) -> Node:
    start, stop, width = args.options["start"], args.options["stop"], args.x.type.width
    if not 0 <= start < stop <= width:
        raise args.world.fault(
            "E0302",
            f"there are no channels {start} to {stop} of {width}",
            args.span,
            expected=f"0 <= start < stop <= {width}",
            found=str(args.x.type),
            help="channels are counted from 0, and `stop` is the first that is left out",
        )
    if (start, stop) == (0, width):
        return args.x
    return args.add(op.SLICE, [args.x], args.x.type.with_width(stop - start), {"start": start, "stop": stop})


declare(
    Builtin(
        "channels",
        "widths",
        ("x",),
        _channels,
        "The channels from `start` to before `stop`, counted from 0.",
        options=(Option("start", "int"), Option("stop", "int")),
    )
)


@built_in(op.CONCAT)
def _concat(args: Arguments) -> Node:
    nodes = [n for n, _ in args.nodes]
    broadcast(args.site, args.span, *((narrow(n), s) for n, s in args.nodes))
    if len(nodes) == 1:
        return nodes[0]
    type_ = Type(union(*(n.type for n in nodes)), sum(n.type.width for n in nodes))
    return args.add(op.CONCAT, nodes, type_)


def narrow(node: Node) -> Node:
    """Return the node as if of width 1: concat checks axes, not widths."""
    return Node(node.id, node.op, node.inputs, node.type.with_width(1), node.span)


@built_in(op.DOT)
def _dot(args: Arguments) -> Node:
    (a, place_a), (b, place_b) = args.nodes
    if a.type.width != b.type.width:
        raise args.world.fault(
            "E0301",
            "`dot` needs two values of the same width",
            args.span,
            expected=f"width {a.type.width} twice, or {b.type.width} twice",
            found=f"{a.type} and {b.type}",
            secondary=(Label(place_a, f"this is {a.type}"), Label(place_b, f"this is {b.type}")),
            help=f"project one of them, for instance `|> linear({b.type.width}, bias = false)`",
        )
    type_ = broadcast(args.site, args.span, *args.nodes).with_width(1)
    return args.add(op.DOT, [a, b], type_)
