"""Which fields a model needs for what.

Promises: a field that only losses read is not needed for predictions or attentions; nor does it alone give
them an axis's lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from specc.ir.graph import FieldSpec, Graph, Node, fields_of, rankings, reads_of, walk
from specc.ops import op
from specc.types.axis import Axis


def fields_of_losses(graph: Graph) -> set[str]:
    """Return the paths of the fields that losses read and neither predictions nor attentions do."""
    asked = _reached(graph, [*graph.given, *(a.weight for a in graph.attentions)])
    fields = {f.path: f for s in graph.spaces for f in s.fields}
    read = {path for node in asked for path in fields_of(node)}
    read |= _crossed(fields, read)
    lost = {path for n in _reached(graph, [x.node for x in graph.losses]) for path in fields_of(n)}
    lost = (lost | _crossed(fields, lost)) - read
    # Lengths come with a field: one that is the only one to have an axis that is asked for stays.
    for axis in _axes(asked):
        having = [f.path for f in fields.values() if axis in f.axes]
        if having and all(path in lost for path in having):
            lost.discard(having[0])
    return lost


def fields_for(graph: Graph, node: int) -> list[str]:
    """Return the paths of the fields that one node depends on, in the spec's order, with one field for the
    lengths of each axis."""
    fields = {f.path: f for s in graph.spaces for f in s.fields}
    asked = _reached(graph, [node])
    read = {path for n in asked for path in fields_of(n)}
    read |= _crossed(fields, read)
    for axis in _axes(asked):
        having = [f.path for f in fields.values() if axis in f.axes]
        if having and read.isdisjoint(having):
            read.add(having[0])
    return [path for path in fields if path in read]


def reads(graph: Graph, nodes: Iterable[int]) -> tuple[list[str], list[Axis]]:
    """Return the paths of the fields that some nodes depend on, in the spec's order, and the spaces' own
    axes whose lengths they need, parents first."""
    asked = _reached(graph, nodes)
    read = {path for node in asked for path in fields_of(node)}
    fields = [f for s in graph.spaces for f in s.fields if f.path in read]
    axes = {a for a in _axes(asked) if a.kind == "space"}
    for field in fields:
        axes.update(field.axes)

    def depth(axis: Axis) -> int:
        return 0 if axis.parent is None else 1 + depth(axis.parent)

    return [f.path for f in fields], sorted(axes, key=lambda a: (depth(a), a.key))


def axis_role(axis: Axis, spaces: Mapping[str, str]) -> str:
    """Return the role of the spaces that an axis, its sources and its parents come from."""
    if axis.kind == "across":
        return "request"  # of each request there are all examples
    if axis.kind == "space":
        own = [spaces[axis.key[1]]]
    else:
        own = [axis_role(source, spaces) for source in axis.source]
    if axis.parent is not None:
        own.append(axis_role(axis.parent, spaces))
    return "candidate" if "candidate" in own else "request"


def labels_read(graph: Graph, node: int) -> list[Node]:
    """Return the nodes that read a label and that this node depends on, in order."""
    return sorted((n for n in _reached(graph, [node]) if n.op == op.LABEL), key=lambda n: n.id)


def predicting(graph: Graph) -> list[Node]:
    """Return the nodes that predictions and other results depend on, including those of regions."""
    return _reached(graph, graph.given)


def coupled(graph: Graph, node: int) -> Node | None:
    """Return the first node that this node depends on and that reads other examples of the
    batch, or None."""
    seen = (n for n in _reached(graph, [node]) if n.op in (op.ACROSS, op.ACROSS_EACH, op.OWN))
    return min(seen, key=lambda n: n.id, default=None)


def _crossed(fields: Mapping[str, FieldSpec], paths: set[str]) -> set[str]:
    """Return the fields that these crosses combine."""
    return {of for path in paths if fields[path].encoding == "cross" for of in fields[path].options["of"]}


def _reached(graph: Graph, roots: Iterable[int]) -> list[Node]:
    """Return these nodes and all nodes that they depend on, including those in regions."""
    index = {n.id: n for n in graph.nodes}
    ranked = rankings(graph.nodes)
    found: dict[int, Node] = {}
    stack = [r for r in roots if r in index]
    while stack:
        node = index[stack.pop()]
        if node.id not in found:
            found[node.id] = node
            stack.extend(reads_of(node, ranked))
    return list(walk(tuple(found.values())))


def _axes(nodes: Iterable[Node]) -> set[Axis]:
    """Return the axes of values, including the axes they derive from or are nested in."""
    found: set[Axis] = set()
    stack = [axis for n in nodes for axis in (*n.type.axes, *_given(n))]
    while stack:
        axis = stack.pop()
        if axis not in found:
            found.add(axis)
            stack.extend((*axis.source, *((axis.parent,) if axis.parent is not None else ())))
    return found


def _given(node: Node) -> list[Axis]:
    """Return the axes that a node works along."""
    return [value for value in node.attrs.values() if isinstance(value, Axis)]
