"""What holds of every graph, whichever stage made it: the elaborator or a pass.

Promises: `verify` raises GraphError for the first unsound node: an input that comes later, a type that does
not follow from the operation's inputs, attributes and weights, a region that is not closed. The error says
which node and where it is written. A sound graph has a meaning (specc/interpret). A fault found here is the
compiler's own, never a user's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import field, replace

from specc.frozen import dataclass
from specc.ir.graph import FieldSpec, Graph, Node, Region, Weight, walk
from specc.ops import OPS, op
from specc.ops.definition import Slot, fits
from specc.source import Span
from specc.types.axis import Axis, Type, union


class GraphError(AssertionError):
    """Raised for an unsound graph. `node` is where it fails."""

    def __init__(self, message: str, span: Span, node: Node | None = None) -> None:
        where = f"%{node.id} = {node.op} {node.type}, " if node is not None else ""
        super().__init__(f"{message} ({where}{span.source.name}:{span.line})")
        self.node = node


def verify(graph: Graph) -> None:
    """Raise GraphError if the graph is unsound."""
    counts = Counter(n.id for n in walk(graph.nodes))
    for node in walk(graph.nodes):
        if counts[node.id] > 1:
            raise GraphError("two nodes have one id", node.span, node)
    fields = {f.path: f for space in graph.spaces for f in space.fields}
    Block(graph.weights, fields).check(graph.nodes)
    _check_outputs(graph)
    for path, weight in graph.weights.items():
        if weight.path != path:
            raise GraphError(f"weight `{path}` goes by another name, `{weight.path}`", weight.span)


def _check_outputs(graph: Graph) -> None:
    """Check that the nodes of predictions, results and losses exist and have the promised types."""
    there = {n.id: n for n in graph.nodes}
    wanted = [
        (f"prediction `{p.name}`", p.node, p.rows.width if p.rows else p.classes or 1, p.span)
        for p in graph.predictions
    ]
    wanted += [
        (f"output `{r.name}`", r.node, there[r.node].type.width if r.node in there else 0, r.span)
        for r in graph.results
    ]
    wanted += [(f"loss `{x.name}`", x.node, 1, x.span) for x in graph.losses]
    for what, id, width, span in wanted:
        if id not in there or there[id].type != Type((), width):
            raise GraphError(f"{what} is not there, or not [{width}]", span, there.get(id))
    for record in graph.attentions:
        if record.weight not in there or (record.score is not None and record.score not in there):
            raise GraphError(f"what attention `{record.path}` records is not there", record.span)
    for name, id in graph.bindings.items():
        if id not in there:
            raise GraphError(f"binding `{name}` is not there", graph.nodes[-1].span)


@dataclass
class Block:
    """The nodes of a graph, or of a region within `axes`: those of the scans around it, with their
    parents. `types` are known so far; `states` are those of each scan."""

    weights: Mapping[str, Weight]
    fields: Mapping[str, FieldSpec]
    axes: tuple[Axis, ...] = ()
    captures: tuple[Type, ...] = ()
    region: Region | None = None
    types: dict[int, Type] = field(default_factory=dict)
    states: dict[int, tuple[Type, ...]] = field(default_factory=dict)

    def check(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            self._check(node)
            self.types[node.id] = node.type

    def _check(self, node: Node) -> None:
        known = OPS.get(node.op)
        self.require(node, known is not None, "there is no such op")
        assert known is not None
        for id in node.inputs:
            self.require(node, id in self.types, f"its input %{id} does not come first")
        self.require(node, fits(known.inputs, len(node.inputs)), f"it takes {_listed(known.inputs)}")
        self.require(
            node, fits(known.weights, len(node.weights)), f"its weights are {_listed(known.weights)}"
        )
        names = " ".join(known.attrs)
        self.require(node, node.attrs.keys() == known.attrs.keys(), f"its attributes are {names}")
        for name, kind in known.attrs.items():
            self.require(node, isinstance(node.attrs[name], kind), f"its `{name}` is no {kind}")
        for path in node.weights:
            self.require(node, path in self.weights, f"there is no weight `{path}`")
        axes = node.type.axes
        self.require(node, len(set(axes)) == len(axes), "it has an axis twice")
        for axis in axes:
            self.require(node, axis.parent is None or axis.parent in axes, f"`{axis}` lacks its parent")
        for worked in _worked_along(node):
            self.require(node, worked not in self.axes, f"`{worked}` is walked by a scan around it")
        expected = known.rule(self, node, tuple(self.types[i] for i in node.inputs))
        self.require(node, node.type == expected, f"its type should be {expected}")

    def require(self, node: Node, holds: bool, message: str) -> None:
        if not holds:
            raise GraphError(message, node.span, node)

    def shapes(self, node: Node, *expected: tuple[int, ...]) -> None:
        for path, shape in zip(node.weights, expected, strict=False):
            self.require(node, self.weights[path].shape == shape, f"`{path}` should be {shape}")

    def along(self, node: Node, x: Type, axis: Axis) -> None:
        """The axis is one of x's, and no other of x's axes lives in it."""
        self.require(node, axis in x.axes, f"{x} has no `{axis}`")
        self.childless(node, x, axis)

    def childless(self, node: Node, x: Type, axis: Axis) -> None:
        children = [a for a in x.axes if a.parent == axis]
        self.require(node, not children, f"an axis of {x} lives in `{axis}`")

    def broadcast(self, node: Node, *types: Type) -> Type:
        widths = {t.width for t in types} - {1}
        self.require(node, len(widths) < 2, "widths " + ", ".join(str(t) for t in types))
        return Type(union(*types), max(t.width for t in types))

    def inside(self, node: Node, axes: tuple[Axis, ...], captures: tuple[Type, ...]) -> Block:
        """Return a region's nodes, checked."""
        region = node.region
        self.require(node, region is not None, "it has no region")
        assert region is not None
        block = replace(self, axes=(*self.axes, *axes), captures=captures, region=region, types={}, states={})
        block.check(region.nodes)
        for ids, what in ((region.captures, op.CAPTURE), (region.states, op.STATE)):
            listed = {n.id: n.attrs["index"] for n in region.nodes if n.op == what}
            self.require(
                node, listed == {id: i for i, id in enumerate(ids)}, f"its {what}s are not as listed"
            )
        for id in region.nexts:
            self.require(node, id in block.types, f"%{id} is not in its region")
        return block


def _listed(slots: tuple[Slot, ...]) -> str:
    marks = {(True, False): "?", (False, True): "*"}
    return " ".join(s.name + marks.get((s.optional, s.many), "") for s in slots) or "none"


def _worked_along(node: Node) -> list[Axis]:
    """Return the axes along which positions are brought together or moved."""
    if OPS[node.op].traits.source is not None:
        return []
    return [value for value in node.attrs.values() if isinstance(value, Axis)]
