"""How a value of a type is laid out: which axes are rows, which are dimensions.

A value is a tensor [rows, *static axes, width]. Ragged axes make up the rows; static axes are
dimensions, in one order for the whole graph, so that values broadcast without being transposed.
"""

from __future__ import annotations

from specc.frozen import dataclass
from specc.ir.graph import Graph, Node, walk
from specc.ops import Origin, op, pure, traits
from specc.passes.roles import CANDIDATE
from specc.types.axis import Axis, Type


@dataclass(frozen=True)
class Domain:
    """What there is a row for: every position of some ragged axes, of each candidate or request."""

    axes: frozenset[Axis]
    candidate: bool = False

    def __or__(self, other: Domain) -> Domain:
        return Domain(self.axes | other.axes, self.candidate or other.candidate)

    def without(self, axis: Axis) -> Domain:
        return Domain(self.axes - {axis}, self.candidate)

    def with_axis(self, axis: Axis) -> Domain:
        return Domain(self.axes | {axis}, self.candidate)


EXAMPLES = Domain(frozenset())


@dataclass(frozen=True)
class Shape:
    """`domain` is None for a value that is the same everywhere (it has one row); `dims` are the
    static axes, in the order of the dimensions."""

    domain: Domain | None
    dims: tuple[Axis, ...]

    def dim(self, axis: Axis) -> int:
        return 1 + self.dims.index(axis)


class Shapes:
    """The shape of every node of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._order: dict[Axis, int] = {}
        self._same: set[int] = set()
        for node in walk(graph.nodes):
            for axis in node.type.axes:
                if not axis.ragged:
                    self._order.setdefault(axis, len(self._order))
            attr = node.attrs.get("axis")
            if isinstance(attr, Axis) and not attr.ragged:
                self._order.setdefault(attr, len(self._order))
        self._find(graph.nodes, frozenset())

    def _find(self, nodes: tuple[Node, ...], captured: frozenset[int]) -> None:
        """Find the nodes that are the same in every example."""
        for node in nodes:
            if node.op == op.ACROSS:
                self._same.add(node.id)
            elif node.region is not None:
                pairs = zip(node.region.captures, node.inputs, strict=False)
                self._find(node.region.nodes, frozenset(c for c, i in pairs if i in self._same))
            elif traits(node).source not in (None, Origin.DATA):
                if not any(a.ragged for a in node.type.axes) and not _measures(node):
                    self._same.add(node.id)
            elif node.id in captured or (
                node.op != op.TO_ROWS
                and pure(node)  # draws and statistics are of every example
                and node.inputs
                and all(i in self._same for i in node.inputs)
            ):
                self._same.add(node.id)

    def dims(self, axes: tuple[Axis, ...] | frozenset[Axis]) -> tuple[Axis, ...]:
        return tuple(sorted((a for a in axes if not a.ragged), key=self._order.__getitem__))

    def domain(self, type_: Type, role: str) -> Domain:
        return Domain(frozenset(a for a in type_.axes if a.ragged), role == CANDIDATE)

    def of(self, node: Node) -> Shape:
        domain = None if node.id in self._same else self.domain(node.type, node.role)
        return Shape(domain, self.dims(node.type.axes))


def _measures(node: Node) -> bool:
    """Whether the node is the length of a ragged axis."""
    axis = node.attrs.get("axis")
    return isinstance(axis, Axis) and axis.ragged


def whole_shape(shape: Shape) -> Shape:
    """The shape with rows, also where the value is the same everywhere."""
    return shape if shape.domain is not None else Shape(EXAMPLES, shape.dims)
