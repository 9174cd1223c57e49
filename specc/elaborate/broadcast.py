"""Values side by side: the type of what is combined channel by channel.

Promises: axes meet by identity, widths are equal or 1; two different axes under one name are a fault.
"""

from __future__ import annotations

from specc.elaborate.world import Site
from specc.ir.graph import Node
from specc.report import Label
from specc.source import Span
from specc.types.axis import Axis, Type, union
from specc.types.kinds import origin


def broadcast(site: Site, span: Span, *operands: tuple[Node, Span]) -> Type:
    """Return the type of values combined channel by channel: axes by name, widths equal or 1."""
    widest = operands[0]
    width = widest[0].type.width
    for node, place in operands[1:]:
        if node.type.width == width or node.type.width == 1:
            continue
        if width != 1:
            raise site.world.fault(
                "E0301",
                "the widths do not match",
                span,
                expected=f"width {width} or 1 on both sides",
                found=f"{widest[0].type} and {node.type}",
                secondary=(
                    Label(widest[1], f"this is {widest[0].type}"),
                    Label(place, f"this is {node.type}"),
                ),
                why="values are combined channel by channel; a width of 1 is repeated",
                help=f"bring one to the other's width, for instance with `|> linear({width})`",
            )
        width, widest = node.type.width, (node, place)
    axes = union(*(node.type for node, _ in operands))
    _same_names(site, span, axes, operands)
    return Type(axes, width)


def _same_names(
    site: Site, span: Span, axes: tuple[Axis, ...], operands: tuple[tuple[Node, Span], ...]
) -> None:
    """Report two different axes under one name: almost always a mistake, and never printable."""
    by_name: dict[str, Axis] = {}
    for axis in axes:
        other = by_name.setdefault(axis.name, axis)
        if other == axis or not {axis, other}.isdisjoint(site.scope.body.passing):
            continue  # a caller's axis, which only passes through, has its name elsewhere
        raise site.world.fault(
            "E0303",
            f"these are two different axes called `{axis.name}`",
            span,
            found=" and ".join(str(node.type) for node, _ in operands),
            secondary=tuple(
                Label(place, f"here `{axis.name}` is {origin(a)}")
                for node, place in operands
                for a in node.type.axes
                if a.name == axis.name
            ),
            why="values can only be combined along an axis when it is the same axis",
            help="give them different names, or bring them to one size"
            if axis.size is not None and other.size is not None
            else "share an axis between spaces with `like`, or rename one of them: `rename(x, t to s)`",
        )
