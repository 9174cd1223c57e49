"""Sequences with one more at the end, computed in two pieces: the history, and what was appended.

    append(history, candidate)         the whole sequence once a candidate
    linear(append(h, c), ...)          linear(h, ...) once a request, linear(c, ...) once a candidate
    sum(w * v, over s where s <= t)    of the history's positions over the history; of the last one over all

Assumes: roles. Promises: the same values up to rounding. A value along an appended axis is a pair: its part
along the history's axis, which is what is read at all positions but the last, and its value at the last. One
with a copy of the axis too (what a query knows of a key) has four parts. What is computed position by
position is computed of each part; what goes along the axis (a sum, a softmax) joins the two.

An operation is taken apart only if its part of the history alone is of the request: of all its positions in
one go, then, the last one has no say in the others. That is so where nothing goes along the axis yet, and in
causal sequences, where a condition on positions is proved to be 0 of every position of the history and the
last one (`ranges`). Everything else reads the sequence as a whole, which `append` makes of its parts as late
as possible: of keys and values, say, and not of what these are made from. Only what is read at the last
position alone is made of what was whole before: there other passes find more (positions, contract).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

from specc.ir.graph import Graph, Node
from specc.ir.prune import prune
from specc.ops import Effect, effect, op, traits
from specc.ops.definition import Positions
from specc.passes.ends import JOINED, Ends, Whole
from specc.passes.positions import needs_of
from specc.passes.ranges import Known
from specc.passes.rewrite import Builder, rebuilt
from specc.passes.roles import CANDIDATE, REQUEST, assign_roles
from specc.types.axis import Axis, Type, union
from specc.types.kinds import derived, root

Key = frozenset[Axis]  # the appended axes along which a part is of the last position
Parts = Mapping[Key, int]
HISTORY: Key = frozenset()


def part_appended(graph: Graph) -> Graph:
    history = _histories(graph)
    return _Apart(graph, history).graph() if history else graph


def _histories(graph: Graph) -> dict[Axis, Axis]:
    """By axis that appends what is of a candidate to what is of the request, and by copy of one, the axis of
    the history (or a copy of it). What only losses read is of one candidate, and stays as it is."""
    found: dict[Axis, Axis] = {}
    for node in prune(replace(graph, losses=(), attentions=())).nodes:
        if node.op not in (op.APPEND, op.RENAME):
            continue
        axis, old = node.attrs["axis"], node.attrs["old"]
        if node.op == op.RENAME and old in found:
            name = (*axis.key[2:], "history")
            found.setdefault(axis, derived("renamed", axis.name, found[old], more=name))
        elif node.op == op.APPEND and node.attrs["second"] is None and axis.ragged:
            if [graph.node(i).role for i in node.inputs] == [REQUEST, CANDIDATE]:
                found[axis] = old
    return found


class _Apart:
    """history: by appended axis, that of the history.

    parts: by node of the old graph, the nodes of the new one that its parts are. wholes: of some of these the
    value as a whole, put together late or not. A node that is in neither is a whole, under its own id or what
    that was renamed to.
    """

    def __init__(self, graph: Graph, history: Mapping[Axis, Axis]) -> None:
        self.old = graph
        self.history = history
        self.builder = Builder.of(graph)
        self.known = Known(self.builder.node)
        self.needs = needs_of(graph)
        self.parts: dict[int, Parts] = {}
        self.wholes: dict[tuple[int, bool], int] = {}

    def graph(self) -> Graph:
        for node in self.old.nodes:
            try:
                parts = self._parted(node) if self._concerned(node) else None
            except Whole:
                parts = None
            if parts is None:
                late = self._late(node)
                self._append(replace(node, inputs=tuple(self.whole(i, late) for i in node.inputs)))
            elif self._along(node.type):
                self.parts[node.id] = parts
            else:
                self.builder.stand_for(node, parts[HISTORY])
        for record in self.old.attentions:
            ids = (record.weight, record.score)
            self.builder.renamed |= {i: self.whole(i, late=False) for i in ids if i is not None}
        for (id, _), whole in self.wholes.items():
            self.builder.renamed.setdefault(id, whole)
        return assign_roles(prune(rebuilt(self.old, self.builder)))

    def _along(self, type_: Type) -> list[Axis]:
        return [a for a in type_.axes if a in self.history]

    def _concerned(self, node: Node) -> bool:
        return bool(self._along(node.type)) or any(i in self.parts for i in node.inputs) or (
            node.op == op.LENGTH and node.attrs["axis"] in self.history
        )  # fmt: skip

    # ---------------------------------------------------------------- wholes

    def whole(self, id: int, late: bool) -> int:
        """Return a value of the old graph as a whole, a node of the new one. late: put together of its parts,
        not made of what was put together before."""
        if id not in self.parts:
            return self.builder.now(id)
        if (id, late) not in self.wholes:
            node, axes = self.old.node(id), self._along(self.old.node(id).type)
            if late and node.inputs and node.op != op.APPEND and [a.kind for a in axes] == ["appended"]:
                attrs = {"old": self.history[axes[0]], "axis": axes[0], "second": None}
                pair = (self.parts[id][HISTORY], self.parts[id][frozenset(axes)])
                made = self._new(op.APPEND, pair, node.type, node, attrs)
            else:
                inputs = tuple(self.whole(i, late) for i in node.inputs)
                own = next(self.builder.ids) if self.builder.has(id) else id
                made = self._append(replace(node, id=own, inputs=inputs))
            self.wholes[id, late] = made
        return self.wholes[id, late]

    def _late(self, node: Node) -> bool:
        """Whether a node that reads whole sequences is better off where they are put together late. Of one
        that is read at the last position alone other passes make more where they are put together first."""
        needs = self.needs.get(node.id, set())
        return not all(need is not None and need[0] == op.LAST and need[1] in self.history for need in needs)

    # ----------------------------------------------------------------- parts

    def _parted(self, node: Node) -> Parts | None:
        """Return a node's parts, None where it is not taken apart. Raises Whole for the same."""
        axis = node.attrs.get("axis")
        if not isinstance(axis, Axis) or axis not in self.history:
            parts = self._learned(node) if node.op == op.LEARNED else self._distributed(node)
        elif node.op == op.APPEND:
            parts = self._ends(node, axis)
        elif node.op == op.RENAME:
            parts = self._renamed(node)
        elif node.op == op.INDEX:
            parts = {HISTORY: self._index(node, axis), frozenset([axis]): self._length(node, axis)}
        elif node.op == op.LENGTH:
            one = self.builder.source(op.CONSTANT, Type((), 1), node, {"value": 1})
            return {HISTORY: self.builder.pointwise(op.ADD, node, self._length(node, axis), one)}
        else:
            parts = self._joined(node, axis)
        if self._along(node.type) and self.builder.node(parts[HISTORY]).role == CANDIDATE:
            return None
        return parts

    def _keys(self, type_: Type, but: Axis | None = None) -> Iterator[Key]:
        """Yield which part is of the last position along which of a value's axes."""
        axes = [a for a in self._along(type_) if a != but]
        return (frozenset(some) for n in range(len(axes) + 1) for some in combinations(axes, n))

    def _part(self, id: int, key: Key) -> int:
        """Return that part of a value of the old graph which has to do with a part of another one."""
        if id in self.parts:
            return self.parts[id][key.intersection(self.old.node(id).type.axes)]
        if self._along(self.old.node(id).type):
            raise Whole  # it was not taken apart
        return self.builder.now(id)

    def _type(self, type_: Type, key: Key) -> Type:
        """Return the type of a part. Raises Whole where a value has the history's own axis, too: the part
        would have that axis twice."""
        axes = [self.history.get(a, a) for a in type_.axes if a not in key]
        if len(set(axes)) < len(axes):
            raise Whole
        return Type(union(Type(tuple(axes), 1)), type_.width)

    def _ends(self, node: Node, axis: Axis) -> Parts:
        found = {}
        for key in self._keys(node.type, but=axis):
            for part, id in zip((key, key | {axis}), node.inputs, strict=True):
                found[part] = self._part(id, key)
                if self.builder.node(found[part]).type != self._type(node.type, part):
                    raise Whole  # one of the two is repeated for an axis of the other's
        return found

    def _learned(self, node: Node) -> Parts:
        """A parameter along the axis: what is learned for a position is read by it."""
        given = node.attrs["axes"]
        own = [a for a in given if a in self.history]
        if len(own) != 1:
            raise Whole
        (axis,) = own
        place = Axis(("static", axis.name, axis.bound, axis.key), axis.name, axis.bound, axis.bound)
        axes = tuple(place if a == axis else a for a in given)
        lines = union(*(Type(a.chain, 1) for a in axes))
        type_ = Type(lines, node.type.width)
        whole = self.builder.source(op.LEARNED, type_, node, {"axes": axes}, node.weights)
        found = {}
        for key, position in {HISTORY: self._index, frozenset([axis]): self._length}.items():
            inputs, type_ = (whole, position(node, axis)), self._type(node.type, key)
            made = self._new(op.AT, inputs, type_, node, {"axis": place, "exact": False})
            found[key] = self._called(made, node, key)
        return found

    def _renamed(self, node: Node) -> Parts:
        old, axis = node.attrs["old"], node.attrs["axis"]
        if old not in self.history:
            raise Whole
        attrs = {"old": self.history[old], "axis": self.history[axis]}
        found = {}
        for key in self._keys(node.type):
            part = self._part(node.inputs[0], key - {axis} | {old} if axis in key else key)
            if axis not in key:
                part = self._new(op.RENAME, (part,), self._type(node.type, key), node, attrs)
            found[key] = self._called(part, node, key)
        return found

    def _distributed(self, node: Node) -> Parts:
        """A node that at each position is made of its inputs at that position, by part."""
        known, does = traits(node), effect(node) in (Effect.PURE, Effect.RANDOM)
        alone = known.positions in (Positions.SAME, Positions.ALONG) or node.op == op.RENAME
        if not does or not alone or node.region is not None or not node.inputs or self._names(node.attrs):
            raise Whole
        found = {}
        for key in self._keys(node.type):
            inputs = tuple(self._part(i, key) for i in node.inputs)
            type_ = self._type(node.type, key)
            made = self._new(node.op, inputs, type_, node, node.attrs, node.weights)
            found[key] = self._called(made, node, key)
        return found

    def _names(self, value: Any) -> bool:
        """Whether an attribute names an appended axis."""
        if isinstance(value, Mapping):
            return any(map(self._names, value.values()))
        if isinstance(value, list | tuple):
            return any(map(self._names, value))
        return isinstance(value, Axis) and value in self.history

    def _joined(self, node: Node, axis: Axis) -> Parts:
        """A node that goes along the axis: what it makes of the history, with what the last position adds."""
        join = JOINED.get(node.op)
        if join is None or not self._along(self.old.node(node.inputs[0]).type):
            raise Whole
        found: dict[Key, int] = {}
        for key in self._keys(node.type, but=axis):
            of = [(self._part(i, key), self._part(i, key | {axis})) for i in node.inputs]
            where = of[1] if len(of) > 1 else None
            ends = Ends.of(self.builder, self.known, node, self.history[axis], of[0], where)
            for last, id in join(ends).items():
                part = key | {axis} if last else key
                if self.builder.node(id).type != self._type(node.type, part):
                    raise Whole
                found[part] = self._called(id, node, part)
        return found

    # ----------------------------------------------------------------- nodes

    def _index(self, node: Node, axis: Axis) -> int:
        along = self.history[axis]
        return self.builder.source(op.INDEX, Type(along.chain, 1), node, {"axis": along})

    def _length(self, node: Node, axis: Axis) -> int:
        along = root(self.history[axis])
        return self.builder.source(op.LENGTH, Type(along.chain[:-1], 1), node, {"axis": along})

    def _new(
        self, name: str, inputs: tuple[int, ...], type_: Type, like: Node, attrs: Mapping[str, Any],
        weights: tuple[str, ...] = (),
    ) -> int:  # fmt: skip
        made = self.builder.add(name, inputs, type_, like, attrs, weights)
        self.known.number(made)
        return made

    def _append(self, node: Node) -> int:
        self.builder.append(node)
        self.known.number(node.id)
        return node.id

    def _called(self, id: int, like: Node, key: Key) -> int:
        """Return a part, by the name that the spec has for the value."""
        if like.name is not None:
            self.builder.call(id, f"last_{like.name}" if key else like.name, like.scope)
        return id
