"""Layers along a static axis: its positions take the place of channels, and channels that of positions."""

from __future__ import annotations

from collections.abc import Callable

from specc.elaborate.builtins.signature import Arguments
from specc.elaborate.builtins.widths import new_axis, without_axis_named
from specc.elaborate.lookup import axis_of_value
from specc.ir.graph import Node
from specc.ops import op
from specc.types.axis import Axis, Type


def along_axis(args: Arguments, n: int | None, layer: Callable[[Node], Node]) -> Node:
    """Return a layer applied to channels; or, with `over field as mix`, to the positions of a static axis,
    the same for all channels.

    n: how many channels the layer gives; None for as many as it takes. Raises Fault.
    """
    x = args.x
    if args.over is None:
        return layer(x)
    old = axis_of_value(args.over, x, args.site)
    if old.size is None:
        raise args.world.fault(
            "E0308",
            f"`{old.name}` is ragged, and a layer's weights are of a fixed number of positions",
            args.over.span,
            found=str(x.type),
            help=f"channels are mixed at each position without a word: leave out `over {args.over.name}`, "
            f"or reduce what it gives, such as `sum(…, over {args.over.name})`",
        )
    size = old.size if n is None else n
    new = old
    if args.new is not None:
        without_axis_named(args, x.type.without(old), args.nodes[0][1], args.new)
        new = new_axis(args, args.new, size)
    elif size != old.size:
        raise args.world.fault(
            "E0302",
            f"`{old.name}` has {old.size} positions, and the layer gives {size}",
            args.span,
            found=str(x.type),
            help=f"name the new axis: `over {args.over.name} as mixed`",
        )
    others, width = x.type.without(old), x.type.width
    if width == 1:
        joined = args.add(op.JOIN, [x], others.with_width(old.size), {"axis": old})
        return _split(args, layer(joined), new)
    # It is never met by another, not even by that of a layer inside of this one.
    channel = Axis(("static", "channel", width, f"of {x.id}"), "channel", width, width)
    parted = args.add(op.SPLIT, [x], Type((*x.type.axes, channel), 1), {"axis": channel})
    turned = Type((*others.axes, channel), old.size)
    given = _split(args, layer(args.add(op.JOIN, [parted], turned, {"axis": old})), new)
    return args.add(op.JOIN, [given], given.type.without(channel).with_width(width), {"axis": channel})


def _split(args: Arguments, x: Node, axis: Axis) -> Node:
    return args.add(op.SPLIT, [x], Type((*x.type.axes, axis), 1), {"axis": axis})
