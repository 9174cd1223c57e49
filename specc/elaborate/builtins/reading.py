"""Values read by position: `at windows`."""

from __future__ import annotations

from specc.elaborate.broadcast import broadcast
from specc.elaborate.builtins.axes import no_children
from specc.elaborate.builtins.signature import Arguments, built_in
from specc.elaborate.builtins.widths import new_axis, without_axis_named
from specc.elaborate.lookup import axis_of_value
from specc.ir.graph import Node
from specc.ops import op
from specc.ops.reading import read_at, shifts
from specc.types.axis import Axis, Type


def _over(args: Arguments) -> Axis:
    assert args.over is not None
    axis = axis_of_value(args.over, args.x, args.site)
    no_children(args, args.x.type, axis, args.span)
    return axis


@built_in(op.AT)
def _at(args: Arguments) -> Node:
    assert args.at is not None
    axis = _over(args)
    position = args.site.value(args.at)
    if position.type.width != 1:
        raise args.world.fault(
            "E0309",
            "a position is one number",
            args.at.span,
            expected="width 1",
            found=str(position.type),
            help="several positions stand along an axis of their own, such as `split(x, n, as k)`",
        )
    place = args.nodes[0][1]
    rest = Node(args.x.id, args.x.op, args.x.inputs, args.x.type.without(axis).with_width(1), place)
    broadcast(args.site, args.span, (rest, place), (position, args.at.span))
    type_ = read_at(args.x.type, position.type, axis)
    return args.add(op.AT, [args.x, position], type_, {"axis": axis, "exact": False})


@built_in(op.WINDOWS)
def _windows(args: Arguments) -> Node:
    assert args.as_ is not None
    axis, (x, place) = _over(args), args.nodes[0]
    without_axis_named(args, x.type, place, args.as_)
    size: int = args.options["n"]
    tap = new_axis(args, args.as_, size)
    read = shifts(size, args.options["align"], args.options["dilation"])
    return args.add(
        op.WINDOWS, [x], Type((*x.type.axes, tap), x.type.width), {"axis": axis, "tap": tap, "shifts": read}
    )
