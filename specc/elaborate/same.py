"""Whether two expressions are one value: equal operations, attributes and weights on the same values.

Promises: what is drawn anew each time, or what nobody has said of is pure, is the same as itself alone.
"""

from __future__ import annotations

from bisect import bisect_left

from specc.elaborate.world import Frame, Site
from specc.ir.graph import Node
from specc.ops import pure


def first_of(node: Node, site: Site) -> Node:
    """Return the first of the values that were ranked by here which is this one."""
    frame = site.frame
    node = site.world.localize(node, frame)
    for other in frame.ranked:
        if _same(node, other, frame):
            return other
    frame.ranked.append(node)
    return node


def _same(node: Node, other: Node, frame: Frame) -> bool:
    if node.id == other.id:
        return True
    if node.op != other.op or not pure(node) or node.region is not None or other.region is not None:
        return False
    alike = node.weights == other.weights and node.type == other.type and node.attrs == other.attrs
    if not alike or len(node.inputs) != len(other.inputs):
        return False
    return all(
        a == b or _same(_node(a, frame), _node(b, frame), frame)
        for a, b in zip(node.inputs, other.inputs, strict=True)
    )


def _node(id: int, frame: Frame) -> Node:
    """Return a frame's node by its id; they are in the order of their ids."""
    return frame.nodes[bisect_left(frame.nodes, id, key=lambda node: node.id)]
