"""Channels, and the positions of a sequence, in parts and back: `split join`."""

from __future__ import annotations

from specc.elaborate.bodies import check_free
from specc.elaborate.builtins.axes import name_carried, over_axis, register
from specc.elaborate.builtins.signature import Arguments, built_in
from specc.elaborate.builtins.widths import new_axis, without_axis_named
from specc.elaborate.lookup import axis_of_value
from specc.ir.graph import Node
from specc.ops import op
from specc.syntax import tree
from specc.types import kinds
from specc.types.axis import Axis, Type


@built_in(op.SPLIT)
def _split(args: Arguments) -> Node:
    count: int = args.options["n"]
    assert args.as_ is not None
    if args.over is not None:
        return _chunked(args, over_axis(args), args.over, args.as_, count)
    x, place = args.nodes[0]
    if x.type.width % count:
        raise args.world.fault(
            "E0302",
            f"{x.type.width} channels cannot be split into {count} equal parts",
            args.span,
            expected=f"a width that {count} divides",
            found=str(x.type),
            help=f"{x.type.width} leaves {x.type.width % count} over; change the width or the parts",
        )
    without_axis_named(args, x.type, place, args.as_)
    axis = new_axis(args, args.as_, count)
    return args.add(op.SPLIT, [x], Type((*x.type.axes, axis), x.type.width // count), {"axis": axis})


@built_in(op.JOIN)
def _join(args: Arguments) -> Node:
    if args.over is not None and args.options["axis"] is not None:
        raise args.world.fault(
            "E0404", "`join` is given two axes", args.options["axis"].span, help="keep the one after `over`"
        )
    ident = args.over or args.options["axis"]  # without a word, as it was written before
    axis = axis_of_value(ident, args.x, args.site)
    if axis.kind == "part":
        return _unchunked(args, axis, ident)
    if axis.size is None:
        raise args.world.fault(
            "E0308",
            f"`{axis.name}` is ragged, and only a static axis can become channels",
            ident.span,
            found=str(args.x.type),
            help=_instead_of_joining(axis, args.x.type),
        )
    type_ = Type(args.x.type.without(axis).axes, args.x.type.width * axis.size)
    return args.add(op.JOIN, [args.x], type_, {"axis": axis})


def _instead_of_joining(axis: Axis, type_: Type) -> str:
    part = next((a for a in type_.axes if a.kind == "part" and a.parent == axis), None)
    if part is not None:
        return f"`join(x, over {part.name})` puts the positions of all chunks back into one sequence"
    return f"`flatten(x, over {axis.name})` fills it with zeros to its bound of {axis.bound}"


def _chunked(args: Arguments, old: Axis, over: tree.Ident, as_: tree.Ident, count: int) -> Node:
    """Return an axis as chunks of so many positions, and the positions in each of them."""
    x, place = args.nodes[0]
    new = args.new or over
    if new.name == as_.name:
        raise args.world.fault(
            "E0303",
            f"the chunks and the positions in them would both be `{as_.name}`",
            as_.span,
            help=f"give each a name of its own: `over {over.name} as chunk, as part`",
        )
    without_axis_named(args, x.type.without(old), place, as_)
    if old.size is not None:
        return _chunked_evenly(args, old, new, as_, count)
    chunks, part = kinds.parts(old, count, new.name, as_.name)
    register(args, chunks)
    check_free(args.site, as_.name, part, as_.span)
    args.site.scope.body.name_axis(as_.name, part)
    type_ = kinds.moved(x.type, old, chunks, part)
    name_carried(args, type_)
    return args.add(op.CHUNK, [x], type_, {"old": old, "axis": part})


def _chunked_evenly(args: Arguments, old: Axis, new: tree.Ident, as_: tree.Ident, count: int) -> Node:
    """Return a static axis in two, by way of channels."""
    x, place = args.nodes[0]
    assert old.size is not None
    if old.size % count:
        raise args.world.fault(
            "E0302",
            f"`{old.name}` has {old.size} positions, which are no whole number of chunks of {count}",
            args.span,
            expected=f"a size that {count} divides",
            found=str(x.type),
            why="only the last chunk of a ragged axis may be shorter",
        )
    rest = x.type.without(old)
    without_axis_named(args, rest, place, new)
    chunks, part = new_axis(args, new, old.size // count), new_axis(args, as_, count)
    joined = args.add(op.JOIN, [x], rest.with_width(old.size * x.type.width), {"axis": old})
    wide = Type((*rest.axes, chunks), count * x.type.width)
    halved = args.add(op.SPLIT, [joined], wide, {"axis": chunks})
    type_ = Type((*wide.axes, part), x.type.width)
    return args.add(op.SPLIT, [halved], type_, {"axis": part})


def _unchunked(args: Arguments, part: Axis, ident: tree.Ident) -> Node:
    """Return the positions of all chunks along the axis that was split."""
    x = args.x
    (axis,) = part.source
    type_ = kinds.unchunked(x.type, part)
    if type_ is None:
        raise args.world.fault(
            "E0307",
            f"an axis lives inside the chunks of `{axis.name}` that was not there when it was split",
            ident.span,
            found=str(x.type),
            why="it has no place in the sequence as a whole",
            help="reduce over it before",
        )
    if axis in x.type.axes:
        raise args.world.fault(
            "E0303",
            f"the value already has the axis that was split, as `{axis.name}`",
            args.span,
            found=str(x.type),
            why="joined parts are along the very axis that was split, and a value has each once",
            help="make a copy of that axis first: `rename(x, t to s)`",
        )
    return args.add(op.UNCHUNK, [x], type_, {"old": part, "axis": axis})
