"""Dead positions: where only the last (or first) position of a sequence is read, only it is computed.

Assumes: nothing. Promises: the same values. Taking the position moves up through every operation whose
result at a position depends on its inputs at that position alone. So a Transformer layer that is read at its
last position has one query, feed-forward and norm for each example, and still all keys and values.

Only along axes that are never empty: of an empty one the position is 0, which operations need not keep.
"""

from __future__ import annotations

from collections.abc import Callable

from specc.ir.graph import Graph, Node, axis_of
from specc.ir.prune import prune
from specc.ops import op, traits
from specc.ops.definition import Positions
from specc.passes.rewrite import Builder, rebuilt
from specc.types.axis import Axis
from specc.types.kinds import never_empty

Choice = tuple[str, Axis]


def choose_positions(graph: Graph) -> Graph:
    wanted = _wanted(graph)
    if not wanted:
        return graph
    builder = Builder.of(graph)
    # What is kept whole, and by node and choice its value at the chosen position.
    chosen: dict[tuple[int, Choice], int] = {}

    def choose(id: int, choice: Choice) -> int:
        """The value of a node (of the new graph) at the chosen position."""
        key = (id, choice)
        if key not in chosen:
            chosen[key] = _at(builder, builder.node(id), choice, choose)
        return chosen[key]

    for old in graph.nodes:
        node = builder.updated(old)
        choice = _choice(node)
        if choice is not None and old.id in wanted:
            builder.stand_for(old, choose(node.inputs[0], choice))
        else:
            builder.append(node)
    return prune(rebuilt(graph, builder))


def _choice(node: Node) -> Choice | None:
    """What a node that reads one position chooses, if it always exists."""
    axis = axis_of(node) if node.op in (op.LAST, op.FIRST) else None
    if axis is None or len(node.inputs) > 1 or not never_empty(axis):
        return None
    return node.op, axis


def needs_of(graph: Graph) -> dict[int, set[Choice | None]]:
    """By value that outputs need, which positions of it; None stands for all."""
    needs: dict[int, set[Choice | None]] = {id: {None} for id in graph.outputs}
    for node in reversed(graph.nodes):
        own = needs.get(node.id)
        if own is None:
            continue  # only an attention's record
        choice = _choice(node)
        for id in node.inputs:
            if choice is not None:
                passed: set[Choice | None] = {choice}
            else:
                passed = {_passed(node, graph.node(id), c) for c in own}
            needs.setdefault(id, set()).update(passed)
    return needs


def _wanted(graph: Graph) -> set[int]:
    """The choices worth making early: those of a value that, but for attentions' records, nothing
    reads in another way."""
    needs = needs_of(graph)
    return {
        node.id
        for node in graph.nodes
        if node.id in needs
        and (choice := _choice(node)) is not None
        and (needs[node.inputs[0]] == {choice} or graph.node(node.inputs[0]).op == op.APPEND)
        and _passes(graph.node(node.inputs[0]), choice)
    }


def _passed(node: Node, source: Node, choice: Choice | None) -> Choice | None:
    """The position that a node at one position reads of an input; None where it reads all of it."""
    if choice is None or not _passes(node, choice):
        return None
    kind, axis = choice
    if node.op == op.RENAME and node.attrs["axis"] == axis:
        axis = node.attrs["old"]
    return (kind, axis) if node.type.has(choice[1]) and source.type.has(axis) else None


def _passes(node: Node, choice: Choice) -> bool:
    """Whether a node at the chosen position is the same node on its inputs at that position."""
    kind, axis = choice
    match traits(node).positions:
        case Positions.SAME:
            return True
        case Positions.ALONG:
            along = (a for a in node.attrs.values() if isinstance(a, Axis))
            return not any(axis in a.chain for a in along)  # nor one that lives in it
    if node.op == op.RENAME:
        return True
    if node.op == op.APPEND:
        return node.attrs["axis"] == axis and kind == op.LAST and node.attrs.get("second") is None
    return False


def _at(builder: Builder, node: Node, choice: Choice, choose: Callable[[int, Choice], int]) -> int:
    """A node's value at the chosen position, as a node of the new graph."""
    kind, axis = choice
    if not node.type.has(axis):
        return node.id
    if not _passes(node, choice) or node.region is not None:
        return builder.add(kind, (node.id,), node.type.without(axis), node, {"axis": axis})
    if node.op == op.APPEND:
        end = node.inputs[1]
        if builder.node(end).type == node.type.without(axis):
            return end
        return builder.add(kind, (node.id,), node.type.without(axis), node, {"axis": axis})
    if node.op == op.RENAME:
        old, new = node.attrs["old"], node.attrs["axis"]
        source = choose(node.inputs[0], (kind, old) if new == axis else choice)
        if new == axis:
            return source
        return builder.add(op.RENAME, (source,), node.type.without(axis), node, node.attrs)
    inputs = tuple(choose(i, choice) for i in node.inputs)
    return builder.add(node.op, inputs, node.type.without(axis), node, node.attrs, node.weights, node.name)
