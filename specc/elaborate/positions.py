"""Numbers about an axis itself: the position along it, and how many positions it has.

Promises: they are made outside of a scan that walks the axis, and seen inside of it.
"""

from __future__ import annotations

from specc.elaborate.world import Frame, Site
from specc.ir.graph import Node
from specc.ops import op
from specc.source import Span
from specc.types.axis import Axis, Type


def position(axis: Axis, site: Site, span: Span) -> Node:
    """Return the index along an axis."""
    return _about(op.INDEX, axis, axis.chain, site, span)


def length(axis: Axis, site: Site, span: Span) -> Node:
    """Return how many positions an axis has."""
    return _about(op.LENGTH, axis, axis.parent.chain if axis.parent else (), site, span)


def _about(op: str, axis: Axis, axes: tuple[Axis, ...], site: Site, span: Span) -> Node:
    """Return a number about an axis itself; made outside of a scan that walks it."""
    frame: Frame | None = site.frame
    outside = site.frame
    while frame is not None:
        if frame.axis == axis and frame.outer is not None:
            outside = frame.outer
        frame = frame.outer
    node = site.world.put(outside, op, (), Type(axes, 1), span, {"axis": axis}, (), site.path)
    return site.world.localize(node, site.frame)
